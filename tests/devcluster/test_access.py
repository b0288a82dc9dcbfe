"""Who may do what on the stand-in, and how it refuses: recording 13 as far as the stand-in goes."""

from typing import Any

import pytest

from tests.cluster import DevCluster, build_job, jobs_path, pods_path
from tests.devcluster import replay

# From 29 on: quota, priority and fairness, ending namespaces, which the stand-in does not have.
RECORDED = [
    entry
    for entry in replay.load("13-auth-and-bad-requests")["entries"]
    if "request" in entry and entry["id"] < 29 and not str(entry["request"].get("body")).startswith("<")
]

# The stand-in does not offer protobuf, and says so.
OTHER_TEXT = {20}


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: f"{entry['id']}-{entry['note'][:40]}")
def test_requests_are_answered_as_recorded(cluster: DevCluster, entry: dict[str, Any]) -> None:
    request, recorded = entry["request"], entry["response"]
    tokens = {
        "admin": cluster.token,
        "limited": cluster.limited_token,
        "bad": "no-such-token",
        "anonymous": "",
    }
    answer = cluster.request(
        request["method"],
        request["path"],
        query=request.get("query"),
        body=request.get("body"),
        content_type=request.get("content_type"),
        headers=request.get("headers"),
        token=tokens[request["user"]],
    )
    assert answer.status == recorded["status"], answer.text
    if recorded["status"] >= 400:
        expected = recorded["body"]
        if entry["id"] in OTHER_TEXT:
            assert answer.json()["reason"] == expected["reason"]
        else:
            assert answer.json() == expected
        assert answer.headers["WWW-Authenticate"] is None


@pytest.mark.parametrize("path", ["/version", "/readyz", "/livez", "/healthz"])
def test_health_and_version_need_no_credentials(cluster: DevCluster, path: str) -> None:
    answer = cluster.request("GET", path, token="")
    assert answer.status == 200
    if path != "/version":
        assert (answer.text, answer.headers["Content-Type"]) == ("ok", "text/plain; charset=utf-8")


def test_discovery_needs_credentials(cluster: DevCluster) -> None:
    assert cluster.request("GET", "/apis", token="").status == 403
    groups = cluster.ok("GET", "/apis")["groups"]
    assert [group["name"] for group in groups] == ["batch"]
    plurals = [resource["name"] for resource in cluster.ok("GET", "/apis/batch/v1")["resources"]]
    assert plurals == ["jobs", "jobs/status"]


def test_the_limited_user_can_do_what_a_portal_does(cluster: DevCluster) -> None:
    token = cluster.limited_token
    path = jobs_path("builds")
    created = cluster.ok("POST", path, body=build_job("by-limited", sim={"run-seconds": 60}), token=token)
    assert created["metadata"]["name"] == "by-limited"
    pod = cluster.wait_for_pod("by-limited", "Running", "builds")["metadata"]["name"]
    assert cluster.request("GET", f"{pods_path('builds')}/{pod}/log", token=token).status == 200
    deleted = cluster.request(
        "DELETE", f"{path}/by-limited", query={"propagationPolicy": "Background"}, token=token
    )
    assert deleted.status == 200
    assert cluster.job_gone("by-limited", "builds")


def test_sizes_have_limits(cluster: DevCluster) -> None:
    body = build_job("big")
    body["metadata"]["annotations"]["note"] = "x" * (257 * 1024)
    answer = cluster.request("POST", jobs_path("builds"), body=body)
    assert answer.status == 422
    assert answer.json()["details"]["causes"][0]["reason"] == "FieldValueTooLong"
    body["metadata"]["annotations"]["note"] = "x" * (3300 * 1024)
    answer = cluster.request("POST", jobs_path("builds"), body=body)
    assert (answer.status, answer.json()["reason"]) == (413, "RequestEntityTooLarge")


def test_events_can_be_written_and_selected(cluster: DevCluster) -> None:
    recorded = {e["id"]: e for e in replay.load("14-events")["entries"] if "request" in e}
    for number in (10, 11, 12, 13, 8):
        request, response = recorded[number]["request"], recorded[number]["response"]
        answer = cluster.request(
            request["method"], request["path"], query=request.get("query"), body=request.get("body")
        )
        assert answer.status == response["status"], answer.text
        if answer.status >= 400:
            assert answer.json() == response["body"]
    query = {"fieldSelector": "involvedObject.kind=Job,source=build-portal,type=Fancy"}
    found = cluster.ok("GET", "/api/v1/namespaces/builds/events", query=query)["items"]
    assert [event["metadata"]["name"] for event in found] == ["ev3"]


def test_nodes_and_namespaces_are_there(cluster: DevCluster) -> None:
    (node,) = cluster.ok("GET", "/api/v1/nodes")["items"]
    assert node["status"]["conditions"][0]["type"] == "Ready"
    cluster.ok("POST", "/api/v1/namespaces", body={"metadata": {"name": "short-lived"}})
    cluster.create_job("inside", "short-lived", suspend=True)
    assert cluster.ok("DELETE", "/api/v1/namespaces/short-lived")["status"] == "Success"
    assert cluster.request("GET", "/api/v1/namespaces/short-lived").status == 404
    assert cluster.jobs("short-lived") == []
