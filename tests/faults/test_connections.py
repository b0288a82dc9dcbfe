"""What goes wrong between portal and API server: after each fault the builds are right by themselves, and the
trouble is told once and counted.
"""

import time
from typing import Any

import pytest

from builds.models import NamespaceSync
from tests.cluster import DevCluster
from tests.faults.conftest import KEPT_ROWS, SLOW, SLOW_LIST_S
from tests.faults.scene import LONG, Scene
from tests.processes import Process, wait_until

pytestmark = KEPT_ROWS


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param({"kind": "error", "code": 410}, ["too old"], id="410-in-the-stream"),
        pytest.param(
            {"kind": "error", "code": 500, "message": "etcd said no"}, ["etcd said no"], id="error-event"
        ),
        pytest.param({"kind": "cut"}, ["broke off"], id="a-line-cut"),
        pytest.param({"kind": "silence"}, ["silent for 6 s"], id="half-open-after-a-while"),
    ],
)
def test_a_stream_that_goes_wrong(scene: Scene, fault: dict[str, Any], words: list[str]) -> None:
    with scene.fault(**fault, verb="watch", resource="jobs", times=1) as switched:
        name = scene.job()
        wait_until(lambda: switched.hits == 1, 5, "the stream goes wrong")
    scene.wait_for(name, "succeeded")
    scene.assert_told_once(*words)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param({"kind": "answer", "code": 410}, ["too old"], id="410"),
        pytest.param({"kind": "answer", "code": 429, "retry_after_s": 1}, ["Too many requests"], id="429"),
        pytest.param({"kind": "answer", "code": 500}, ["500"], id="500"),
        pytest.param({"kind": "answer", "code": 503}, ["503"], id="503"),
        pytest.param({"kind": "hang"}, ["silent for 6 s"], id="half-open"),
        pytest.param({"kind": "close"}, ["closes the stream at once"], id="closed-at-once"),
    ],
)
def test_a_watch_that_is_not_let_in(scene: Scene, fault: dict[str, Any], words: list[str]) -> None:
    times = 1 if fault["kind"] == "hang" else 4
    with scene.fault(**fault, verb="watch", resource="jobs", times=times) as switched:
        if fault["kind"] != "close":
            scene.reconnect()
        name = scene.job()
        wait_until(lambda: switched.hits == times, 20, "all tries have gone wrong")
    scene.wait_for(name, "succeeded")
    scene.assert_told_once(*words)


def test_retry_after_is_kept(scene: Scene) -> None:
    with scene.fault("answer", verb="watch", resource="jobs", code=429, retry_after_s=3, times=1):
        begun = time.monotonic()
        scene.reconnect()
        name = scene.job()
        scene.wait_for(name, "succeeded")
    assert time.monotonic() - begun > 3
    scene.assert_told_once("Too many requests")


@pytest.mark.parametrize("code", [500, 503])
def test_lists_that_fail(scene: Scene, code: int) -> None:
    with (
        scene.fault("answer", verb="list", code=code, times=5) as switched,
        scene.fault("error", verb="watch", code=410, times=3),
    ):
        name = scene.job()
        wait_until(lambda: switched.hits == 5, 20, "lists have failed")
    scene.wait_for(name, "succeeded")
    scene.assert_told_once()


def test_being_forbidden_names_what_is_forbidden(scene: Scene) -> None:
    with (
        scene.fault("answer", verb="list", resource="jobs", code=403) as switched,
        scene.fault("error", verb="watch", resource="jobs", code=410, times=1),
    ):
        name = scene.job()
        wait_until(lambda: switched.hits >= 3, 20, "it was tried again")
        told = scene.sync.last_error
        for word in ("cannot list", '"jobs"', f'"{scene.namespace}"'):
            assert word in told
    scene.wait_for(name, "succeeded")
    scene.assert_told_once()


def test_events_that_stay_forbidden_are_no_flood(scene: Scene) -> None:
    with scene.fault("answer", resource="events", code=403) as switched:
        scene.reconnect("events")
        scene.assert_followed()
        wait_until(lambda: switched.hits >= 6, 30, "it was tried again and again")
        assert not [line for line in scene.said() if line["event"] == "watch is back"]
    scene.assert_told_once("cannot watch", "events", scene.namespace)
    scene.wait_until_it_is_over()


def test_a_token_of_pages_that_expires_in_the_middle(scene: Scene) -> None:
    names = [scene.job(suspend=True) for _ in range(5)]
    with (
        scene.fault("answer", verb="list", resource="jobs", page="next", code=410, times=4) as switched,
        scene.fault("error", verb="watch", resource="jobs", code=410, times=1),
    ):
        names.append(scene.job(suspend=True))
        wait_until(lambda: switched.hits == 4, 10, "pages have expired")
    for name in names:
        scene.wait_for(name, "pending")
    scene.assert_followed()
    scene.assert_told_once()


def test_changes_that_come_late_twice_and_backwards(scene: Scene) -> None:
    with (
        scene.fault("disorder", verb="watch", resource="jobs", delay_s=0.7) as jobs,
        scene.fault("disorder", verb="watch", resource="pods", delay_s=0.4) as pods,
    ):
        good = [scene.job() for _ in range(4)]
        bad = scene.job({"exit-code": 1})
        deleted = scene.job(LONG)
        scene.wait_for(deleted, "running")
        assert scene.cluster.delete_job(deleted, scene.namespace).status == 200
        for name in good:
            scene.wait_for(name, "succeeded")
        assert scene.wait_for(bad, "failed").error_exit_code == 1
        scene.wait_for(deleted, "failed", "deleted")
        assert jobs.hits >= 2
        assert pods.hits >= 2
    for name in (*good, bad, deleted):
        transitions = [event.to_status for event in scene.builds(name)[0].events.filter(type="transition")]
        assert len(transitions) == len(set(transitions)), "each step once"
    assert scene.warnings() == [], "nothing is wrong with the picture"


def test_a_selector_that_is_wrong_all_at_once(scene: Scene) -> None:
    names = [scene.job(suspend=True) for _ in range(11)]
    for name in names:
        scene.wait_for(name, "pending")

    def list_again() -> None:
        before = scene.sync.listed_at
        with scene.fault("error", verb="watch", resource="jobs", code=410, times=1):
            wait_until(lambda: scene.sync.listed_at != before, 15, "there is a new list")

    with scene.fault("hide", verb="list", resource="jobs"):
        for _ in range(3):
            list_again()
        assert "11 of 11 active builds are missing at once" in scene.sync.alarm
    list_again()
    assert scene.sync.alarm == ""
    for name in names:
        assert scene.wait_for(name, "pending").missing_since is None
    lines = [line for line in scene.warnings() if line["event"] == "nothing concluded from a list"]
    assert len(lines) == 1
    assert scene.sync.troubles >= 2, "the alarm, beside the interruptions"
    scene.assert_followed()


def test_a_list_that_takes_half_a_minute(cluster: DevCluster, watcher: Process) -> None:
    """It began with the watcher, long before this test."""
    scene = Scene(cluster, watcher, SLOW)
    wait_until(
        lambda: NamespaceSync.objects.filter(namespace=SLOW, listed_at__isnull=False).exists(),
        SLOW_LIST_S + 15,
        "the slow list has come",
    )
    scene.assert_followed()
    scene.assert_told_once("took the API server 30 s")
