"""Watches of the stand-in: where they begin, what they show, how they end, as in recordings 11 and 11b."""

import json
import time
from typing import Any

import pytest

from tests.cluster import DevCluster, jobs_path, pods_path

PATH = jobs_path("builds")


def patch(cluster: DevCluster, name: str, body: Any) -> Any:
    return cluster.ok("PATCH", f"{PATH}/{name}", body=body, content_type="application/merge-patch+json")


def version(cluster: DevCluster) -> str:
    return str(cluster.ok("GET", PATH)["metadata"]["resourceVersion"])


def shown(cluster: DevCluster, **query: object) -> list[tuple[str, str]]:
    events = cluster.watch(PATH, {"timeoutSeconds": 1, **query})
    return [(e["type"], e["object"]["metadata"].get("name", "")) for e in events]


@pytest.fixture
def jobs(cluster: DevCluster) -> Any:
    """Two suspended Jobs, a and b."""
    for name in ("a", "b"):
        cluster.create_job(name, "builds", suspend=True)
        cluster.wait_for_condition(name, "Suspended", "builds")
    yield
    for name in ("a", "b"):
        cluster.delete_job(name, "builds")


@pytest.mark.usefixtures("jobs")
class TestWatch:
    def test_without_a_version_it_begins_with_everything(self, cluster: DevCluster) -> None:
        assert shown(cluster) == [("ADDED", "a"), ("ADDED", "b")]
        assert shown(cluster, resourceVersion="0") == [("ADDED", "a"), ("ADDED", "b")]

    def test_from_a_version_it_replays_each_change_once(self, cluster: DevCluster) -> None:
        start = version(cluster)
        for number in range(3):
            patch(cluster, "a", {"metadata": {"annotations": {"n": str(number)}}})
        patch(cluster, "a", {"metadata": {"annotations": {"n": "2"}}})
        events = list(cluster.watch(PATH, {"timeoutSeconds": 1, "resourceVersion": start}))
        assert [e["type"] for e in events] == ["MODIFIED"] * 3, "a patch that changes nothing is no event"
        assert [e["object"]["metadata"]["annotations"]["n"] for e in events] == ["0", "1", "2"]
        versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
        assert versions == sorted(versions)

    def test_live_changes_arrive_at_once(self, cluster: DevCluster) -> None:
        watch = cluster.watch(PATH, {"timeoutSeconds": 10, "resourceVersion": version(cluster)})
        patch(cluster, "b", {"metadata": {"annotations": {"live": "1"}}})
        begun = time.monotonic()
        event = next(watch)
        assert event["object"]["metadata"]["name"] == "b"
        assert time.monotonic() - begun < 1

    def test_what_leaves_a_selection_is_deleted_for_it(self, cluster: DevCluster) -> None:
        start = version(cluster)
        patch(cluster, "a", {"metadata": {"labels": {"color": "red"}}})
        patch(cluster, "a", {"metadata": {"annotations": {"x": "1"}}})
        patch(cluster, "a", {"metadata": {"labels": {"color": "blue"}}})
        seen = shown(cluster, resourceVersion=start, labelSelector="color=red")
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]

    def test_a_field_selector_watches_one_object(self, cluster: DevCluster) -> None:
        assert shown(cluster, fieldSelector="metadata.name=b") == [("ADDED", "b")]

    def test_watch_is_ignored_on_one_object(self, cluster: DevCluster) -> None:
        assert cluster.ok("GET", f"{PATH}/a", query={"watch": "1"})["kind"] == "Job"

    def test_the_old_prefix_still_works(self, cluster: DevCluster) -> None:
        path = PATH.replace("/v1/", "/v1/watch/")
        events = cluster.request("GET", path, query={"timeoutSeconds": 1}).content.splitlines()
        assert [json.loads(line)["type"] for line in events] == ["ADDED", "ADDED"]

    def test_initial_events_end_with_a_bookmark(self, cluster: DevCluster) -> None:
        query = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        events = list(cluster.watch(PATH, {"timeoutSeconds": 3, **query}))
        assert [e["type"] for e in events[:3]] == ["ADDED", "ADDED", "BOOKMARK"]
        mark = events[2]["object"]
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert mark["spec"] == {"template": {"metadata": {}, "spec": {"containers": None}}}
        # One more in the last two seconds, without the annotation.
        assert [e["type"] for e in events[3:]][:1] == ["BOOKMARK"]
        assert "annotations" not in events[3]["object"]["metadata"]

    def test_initial_events_need_the_match_rule(self, cluster: DevCluster) -> None:
        answer = cluster.request("GET", PATH, query={"watch": "1", "sendInitialEvents": "true"})
        assert answer.status == 422
        assert "sendInitialEvents requires setting" in answer.json()["message"]

    def test_limit_is_ignored(self, cluster: DevCluster) -> None:
        assert len(shown(cluster, limit=1)) == 2

    def test_a_version_from_the_future_is_silent(self, cluster: DevCluster) -> None:
        watch = cluster.watch(PATH, {"timeoutSeconds": 1, "resourceVersion": int(version(cluster)) + 100_000})
        patch(cluster, "a", {"metadata": {"annotations": {"future": "1"}}})
        assert list(watch) == []


def test_too_old_is_an_event_in_a_200(cluster: DevCluster) -> None:
    (event,) = cluster.watch(PATH, {"resourceVersion": "1"})
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["reason"] == "Expired"
    assert event["object"]["message"].startswith("too old resource version: 1 (")


def test_a_malformed_version_is_a_500_without_reason(cluster: DevCluster) -> None:
    answer = cluster.request("GET", PATH, query={"watch": "1", "resourceVersion": "abc"})
    assert answer.status == 500
    assert "reason" not in answer.json()


def test_namespaces_do_not_mix(cluster: DevCluster) -> None:
    start = version(cluster)
    cluster.create_job("other", "default", suspend=True)
    cluster.delete_job("other", "default")
    assert shown(cluster, resourceVersion=start) == []
    everywhere = cluster.watch("/apis/batch/v1/jobs", {"timeoutSeconds": 1, "resourceVersion": start})
    assert next(everywhere)["type"] == "ADDED"


def test_the_history_ends_and_then_versions_are_too_old(cluster: DevCluster) -> None:
    cluster.create_job("much", "builds", suspend=True)
    start = version(cluster)
    connection = cluster.connection()
    headers = {"Authorization": f"Bearer {cluster.token}", "Content-Type": "application/merge-patch+json"}
    for number in range(3100):
        body = json.dumps({"metadata": {"annotations": {"n": str(number)}}})
        connection.request("PATCH", f"{PATH}/much", body, headers)
        assert connection.getresponse().read()
    (event,) = cluster.watch(PATH, {"timeoutSeconds": 1, "resourceVersion": start})
    cluster.delete_job("much", "builds")
    assert event["object"]["code"] == 410


def test_a_stopped_server_ends_its_watches_cleanly(own_cluster: DevCluster) -> None:
    watch = own_cluster.watch(PATH, {"resourceVersion": version(own_cluster), "timeoutSeconds": 60})
    pods = own_cluster.watch(pods_path("builds"), {"timeoutSeconds": 60})
    own_cluster.create_job("last", "builds", suspend=True)
    assert next(watch)["type"] == "ADDED"
    begun = time.monotonic()
    own_cluster.stop()
    assert all(event["type"] == "MODIFIED" for event in watch)
    assert list(pods) == []
    assert time.monotonic() - begun < 3
