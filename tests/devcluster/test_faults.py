"""The stand-in's switches: who may turn them, which requests a fault meets, and what each one does."""

import http.client
import json
import time
from pathlib import Path

import pytest

from tests.cluster import FAULTS, NAMESPACE, DevCluster, jobs_path, pods_path


def started(cluster: DevCluster, name: str) -> None:
    cluster.create_job(name, suspend=True)


def version(cluster: DevCluster) -> str:
    return str(cluster.ok("GET", jobs_path())["metadata"]["resourceVersion"])


def test_only_the_admin_turns_switches(cluster: DevCluster) -> None:
    body = {"kind": "answer", "code": 500}
    assert cluster.request("POST", FAULTS, body=body, token=cluster.limited_token).status == 403
    assert cluster.request("POST", FAULTS, body=body, token="").status == 403
    assert cluster.request("GET", FAULTS, token="wrong").status == 401
    assert cluster.ok("GET", FAULTS) == []


@pytest.mark.parametrize("body", [{}, {"kind": "storm"}, {"kind": "answer", "often": 3}, "{"])
def test_what_is_no_fault_is_refused(cluster: DevCluster, body: object) -> None:
    answer = cluster.request("POST", FAULTS, body=body)
    assert (answer.status, answer.json()["reason"]) == (400, "BadRequest")
    assert cluster.request("DELETE", f"{FAULTS}/77").status == 404


def test_a_fault_meets_what_it_names_and_wears_out(cluster: DevCluster) -> None:
    with cluster.fault(
        "answer", verb="list", resource="jobs", namespace=NAMESPACE, code=503, times=2
    ) as fault:
        assert cluster.request("GET", pods_path()).status == 200
        assert cluster.request("GET", jobs_path("builds")).status == 200
        assert [cluster.request("GET", jobs_path()).status for _ in range(3)] == [503, 503, 200]
        assert fault.hits == 2
    with cluster.fault("answer", code=500, for_s=0.2):
        assert cluster.request("GET", jobs_path()).status == 500
        time.sleep(0.25)
        assert cluster.request("GET", jobs_path()).status == 200


def test_429_is_plain_text_with_retry_after(cluster: DevCluster) -> None:
    with cluster.fault("answer", code=429, retry_after_s=3):
        answer = cluster.request("GET", jobs_path())
    assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_403_names_verb_resource_and_namespace(cluster: DevCluster) -> None:
    with cluster.fault("answer", verb="watch", code=403):
        answer = cluster.request("GET", jobs_path(), query={"watch": "1"})
    assert answer.status == 403
    for word in ("watch", '"jobs"', f'"{NAMESPACE}"'):
        assert word in answer.json()["message"]


def test_a_revoked_token(cluster: DevCluster) -> None:
    with cluster.fault("revoke") as fault:
        assert cluster.request("GET", jobs_path()).status == 401
        assert cluster.request("GET", jobs_path(), token=fault.token).status == 200
    assert cluster.request("GET", jobs_path()).status == 200
    assert cluster.request("GET", jobs_path(), token=fault.token).status == 401


def test_a_token_of_pages_that_expires(cluster: DevCluster) -> None:
    for number in range(3):
        started(cluster, f"page-{number}")
    with cluster.fault("answer", verb="list", page="next", code=410, times=1):
        page = cluster.ok("GET", jobs_path(), query={"limit": 1})
        query = {"limit": 1, "continue": page["metadata"]["continue"]}
        assert cluster.request("GET", jobs_path(), query=query).json()["reason"] == "Expired"
        assert cluster.request("GET", jobs_path(), query=query).status == 200


def test_hidden_objects_are_there_by_name(cluster: DevCluster) -> None:
    started(cluster, "hidden")
    with cluster.fault("hide", verb="list", resource="jobs"):
        assert cluster.jobs() == []
        assert cluster.get_job("hidden") is not None
    assert "hidden" in {job["metadata"]["name"] for job in cluster.jobs()}


def test_an_error_reaches_a_stream_that_is_open_already(cluster: DevCluster) -> None:
    events = cluster.watch(jobs_path(), {"resourceVersion": version(cluster)}, timeout_s=5)
    with cluster.fault("error", verb="watch", resource="jobs", code=410, times=1):
        (event,) = list(events)
    assert (event["type"], event["object"]["reason"]) == ("ERROR", "Expired")


def test_a_line_is_cut(cluster: DevCluster) -> None:
    query = {"watch": "1", "resourceVersion": version(cluster)}
    response = cluster.open("GET", jobs_path(), query=query, timeout_s=5)
    with cluster.fault("cut", verb="watch", times=1):
        started(cluster, "cut")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
            response.read()
    assert isinstance(broken.value, http.client.IncompleteRead)
    assert broken.value.partial.startswith(b'{"type":"ADDED"')
    assert b"\n" not in broken.value.partial


@pytest.mark.parametrize("kind", ["hang", "silence"])
def test_a_connection_that_is_half_open(cluster: DevCluster, kind: str) -> None:
    with cluster.fault(kind, verb="watch"), pytest.raises(TimeoutError):
        list(cluster.watch(jobs_path(), {"resourceVersion": version(cluster)}, timeout_s=0.3))


def test_a_stream_that_ends_at_once(cluster: DevCluster) -> None:
    with cluster.fault("close", verb="watch") as fault:
        for _ in range(2):
            assert list(cluster.watch(jobs_path(), {"resourceVersion": version(cluster)})) == []
        assert fault.hits == 2


def test_events_come_late_twice_and_backwards(cluster: DevCluster) -> None:
    query = {"resourceVersion": version(cluster), "timeoutSeconds": 2}
    events = cluster.watch(jobs_path(), query)
    with cluster.fault("disorder", verb="watch", delay_s=0.5, times=1):
        started(cluster, "first")
        started(cluster, "second")
        told = [event["object"] for event in events if event["type"] != "BOOKMARK"]
    versions = [int(one["metadata"]["resourceVersion"]) for one in told]
    half = len(versions) // 2
    assert versions[:half] == sorted(set(versions), reverse=True) == versions[half:]
    assert {one["metadata"]["name"] for one in told} == {"first", "second"}


def test_the_cluster_s_clock_goes_wrong(cluster: DevCluster) -> None:
    before = time.time()
    with cluster.fault("skew", delay_s=-600):
        started(cluster, "skewed")
    job = cluster.get_job("skewed")
    assert job is not None
    created = (
        time.mktime(time.strptime(job["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    )
    assert created == pytest.approx(before - 600, abs=3)


def test_a_restored_backup_takes_the_versions_back(tmp_path: Path) -> None:
    cluster = DevCluster.start(tmp_path / "state")
    try:
        started(cluster, "kept")
        cluster.backup(tmp_path / "backup")
        for number in range(10):
            started(cluster, f"lost-{number}")
        last = version(cluster)
        cluster = cluster.restored(tmp_path / "backup")
        assert int(version(cluster)) < int(last)
        assert [job["metadata"]["name"] for job in cluster.jobs()] == ["kept"]
        with pytest.raises(TimeoutError):
            json.dumps(list(cluster.watch(jobs_path(), {"resourceVersion": last}, timeout_s=0.3)))
    finally:
        cluster.stop()
