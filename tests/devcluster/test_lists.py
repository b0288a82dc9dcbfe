"""Lists of the stand-in: selectors, pages, versions and representations, as recording 10 shows them."""

import gzip
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import DevCluster, eventually, jobs_path, pods_path
from tests.devcluster import replay

NAMESPACE = "lists"
PATH = jobs_path(NAMESPACE)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """Jobs list-0 to list-6 as in recording 10: list-0 succeeded, list-1 failed, the others running."""
    cluster = DevCluster.start(tmp_path_factory.mktemp("lists"))
    cluster.ok("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE}})
    for number in range(7):
        sim = {"run-seconds": 0.1 if number < 2 else 60, "exit-code": int(number == 1)}
        labels = {"team": "red" if number % 2 else "blue", "n": str(number)}
        cluster.create_job(f"list-{number}", NAMESPACE, sim=sim, labels=labels)
    cluster.wait_for_condition("list-0", "Complete", NAMESPACE)
    cluster.wait_for_condition("list-1", "Failed", NAMESPACE)
    cluster.wait_for_pod("list-6", "Running", NAMESPACE)
    yield cluster
    cluster.stop()


def names(body: Any) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


RECORDED = [
    entry
    for entry in replay.load("10-list")["entries"]
    if "request" in entry and entry["request"].get("query") and "continue" not in entry["request"]["query"]
]
SELECTIONS = [e for e in RECORDED if {"labelSelector", "fieldSelector"} & e["request"]["query"].keys()]


@pytest.mark.parametrize("entry", SELECTIONS, ids=lambda entry: str(entry["request"]["query"]))
def test_selectors_choose_what_the_recording_shows(listed: DevCluster, entry: dict[str, Any]) -> None:
    query = entry["request"]["query"]
    if "limit" in query or "nolabels" in str(query) or "namespace" in str(query):
        query = {**query, "fieldSelector": "metadata.namespace=lists"} if "namespace" in str(query) else query
    path = entry["request"]["path"].replace("/builds/", f"/{NAMESPACE}/")
    answer = listed.request("GET", path, query=query)
    recorded = entry["response"]
    assert answer.status == recorded["status"]
    if answer.status != 200:
        assert answer.json() == recorded["body"]
        return
    expected = [n for n in recorded["body"]["items"] if n not in ("list-00-inserted", "list-7-nolabels")]
    found = [n.rpartition("-")[0] if "/pods" in path else n for n in names(answer.json())]
    assert found == [n.rpartition("-")[0] if "/pods" in path else n for n in expected]


def test_a_list_has_items_without_kind_ordered_by_name(listed: DevCluster) -> None:
    body = listed.ok("GET", PATH)
    assert body["kind"] == "JobList"
    assert names(body) == [f"list-{n}" for n in range(7)]
    assert all("kind" not in item and "apiVersion" not in item for item in body["items"])


def test_pages_show_the_moment_of_the_first(listed: DevCluster) -> None:
    first = listed.ok("GET", PATH, query={"limit": 3})
    token = first["metadata"]["continue"]
    decoded = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert decoded == {
        "v": "meta.k8s.io/v1",
        "rv": int(first["metadata"]["resourceVersion"]),
        "start": "/list-2\0",
    }
    assert first["metadata"]["remainingItemCount"] == 4
    listed.create_job("list-00-inserted", NAMESPACE, suspend=True)
    listed.delete_job("list-00-inserted", NAMESPACE)
    listed.create_job("list-3-later", NAMESPACE, suspend=True)
    try:
        second = listed.ok("GET", PATH, query={"limit": 3, "continue": token})
        third = listed.ok("GET", PATH, query={"limit": 3, "continue": second["metadata"]["continue"]})
        whole = listed.ok("GET", PATH)
    finally:
        listed.delete_job("list-3-later", NAMESPACE)
    assert [names(page) for page in (first, second, third)] == [
        ["list-0", "list-1", "list-2"],
        ["list-3", "list-4", "list-5"],
        ["list-6"],
    ]
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    assert len(versions) == 1
    assert "continue" not in third["metadata"]
    assert "list-3-later" in names(whole)


def test_exact_shows_an_earlier_moment(listed: DevCluster) -> None:
    before = listed.ok("GET", PATH)["metadata"]["resourceVersion"]
    listed.create_job("list-9", NAMESPACE, suspend=True)
    query = {"resourceVersion": before, "resourceVersionMatch": "Exact"}
    then = listed.ok("GET", PATH, query=query)
    query["resourceVersionMatch"] = "NotOlderThan"
    now = listed.ok("GET", PATH, query=query)
    listed.delete_job("list-9", NAMESPACE)
    assert "list-9" not in names(then)
    assert then["metadata"]["resourceVersion"] == before
    assert "list-9" in names(now)


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersionMatch": "Exact"},
        {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        {"resourceVersion": "abc"},
        {"limit": "x"},
    ],
    ids=str,
)
def test_bad_options_are_refused_as_recorded(listed: DevCluster, query: dict[str, str]) -> None:
    (recorded,) = [e["response"] for e in RECORDED if e["request"]["query"] == query]
    answer = listed.request("GET", PATH, query=query)
    assert (answer.status, answer.json()) == (recorded["status"], recorded["body"])


def test_a_continue_token_takes_no_version_and_no_garbage(listed: DevCluster) -> None:
    token = listed.ok("GET", PATH, query={"limit": 1})["metadata"]["continue"]
    both = listed.request("GET", PATH, query={"continue": token, "resourceVersion": "1"})
    assert both.json()["message"] == "specifying resource version is not allowed when using continue"
    garbage = listed.request("GET", PATH, query={"continue": "garbage"})
    assert garbage.status == 400
    assert "invalid continue token" in garbage.json()["message"]


def test_a_version_from_the_future_times_out_after_three_seconds(listed: DevCluster) -> None:
    answer = listed.request("GET", PATH, query={"resourceVersion": "900000000"})
    assert answer.status == 504
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["message"].startswith("Timeout: Too large resource version: 900000000, current: ")
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_job_without_labels_takes_over_those_of_its_template(listed: DevCluster) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "kaniko", "image": "x:1"}]}}
    body = {"metadata": {"name": "nolabels"}, "spec": {"suspend": True, "template": template}}
    created = listed.ok("POST", PATH, body=body)
    found = listed.jobs(NAMESPACE, "batch.kubernetes.io/job-name=nolabels")
    listed.delete_job("nolabels", NAMESPACE)
    assert created["metadata"]["labels"]["controller-uid"] == created["metadata"]["uid"]
    assert [job["metadata"]["name"] for job in found] == ["nolabels"]
    assert not listed.jobs(NAMESPACE, "job-name=list-0")


def test_a_list_of_all_namespaces_names_each(listed: DevCluster) -> None:
    listed.create_job("elsewhere", "default", suspend=True)
    found = {job["metadata"]["namespace"] for job in listed.ok("GET", "/apis/batch/v1/jobs")["items"]}
    assert found == {"default", NAMESPACE}


def test_large_lists_are_compressed_for_who_takes_it(listed: DevCluster) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "k", "image": "x:1"}]}}
    notes = {"note": "x" * 140_000}
    body = {
        "metadata": {"name": "big", "annotations": notes},
        "spec": {"suspend": True, "template": template},
    }
    listed.ok("POST", PATH, body=body)
    packed = listed.request("GET", PATH, headers={"Accept-Encoding": "gzip"})
    listed.delete_job("big", NAMESPACE)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "big" in names(json.loads(gzip.decompress(packed.content)))


def test_deleting_a_collection_orphans_unless_told_otherwise(listed: DevCluster) -> None:
    labels = {"batch": "x"}
    listed.create_job("gone-1", NAMESPACE, sim={"run-seconds": 60}, labels=labels)
    listed.wait_for_pod("gone-1", "Running", NAMESPACE)
    answer = listed.request("DELETE", PATH, query={"labelSelector": "batch=x"})
    assert answer.status == 200
    assert "child pods are preserved by default" in answer.headers["Warning"]
    assert names(answer.json()) == ["gone-1"]
    assert eventually(lambda: listed.get_job("gone-1", NAMESPACE) is None, 5)
    (pod,) = listed.pods("gone-1", NAMESPACE)
    assert "ownerReferences" not in pod["metadata"]
    assert pod["status"]["phase"] == "Running"
    listed.request("DELETE", f"{pods_path(NAMESPACE)}/{pod['metadata']['name']}")


def test_every_answer_says_that_this_is_a_stand_in(listed: DevCluster, tmp_path: Path) -> None:
    answer = listed.request("GET", "/version", token="")
    assert "stand-in" in answer.headers["Server"]
    assert answer.json()["gitVersion"].endswith("-standin")
    assert "stand-in" in (listed.state_dir / "devcluster.log").read_text()
