"""Cancelling through the whole portal: while all is well, and while a part of it is away."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster import DevCluster
from tests.portal import Answer, Portal
from tests.processes import wait_until
from tests.valkey import Valkey

pytestmark = [pytest.mark.e2e, pytest.mark.database]

CARRIED_OUT_WITHIN_S = 10.0
# The worker's own reconnecting takes up to half of it.
BROKER_BACK_WITHIN_S = 20.0
LONG = {"run-seconds": 600, "schedule-seconds": 0, "pull-seconds": 0, "log-lines": 20, "log-share": 0.001}


def running_build(portal: Portal, cluster: DevCluster, name: str) -> dict[str, Any]:
    cluster.create_job(name, sim=LONG)
    return portal.wait_for(name, "running")


def carried_out(portal: Portal, name: str, within_s: float = CARRIED_OUT_WITHIN_S) -> dict[str, Any]:
    """The cancelled build, once its cleanup is known."""
    portal.wait_for(name, "cancelled", timeout_s=within_s)
    return wait_until(
        lambda: (build := portal.build(name))["cancellation"]["cleanup"]["pods"] == "gone" and build,
        15,
        "no pods",
    )


def transitions_to(build: dict[str, Any], status: str) -> int:
    return sum(1 for event in build["events"] if event["type"] == "transition" and event["reason"] == status)


@pytest.mark.alone
def test_cancelling_takes_less_than_half_a_second(portal: Portal, cluster: DevCluster) -> None:
    names = [f"build-quick-{number:02}" for number in range(20)]
    for name in names:
        cluster.create_job(name, sim=LONG)
    for name in names:
        portal.wait_for(name, "running")
    took_s = []
    for name in names:
        begin_s = time.monotonic()
        answer = portal.request("POST", f"/builds/{name}/cancel", {"reason": "measured"})
        took_s.append(time.monotonic() - begin_s)
        assert (answer.status, answer.body["status"]) == (200, "cancelled"), answer
        time.sleep(0.1)
    assert statistics.median(took_s) < 0.5, took_s
    for name in names:
        assert cluster.job_gone(name), name
        assert portal.build(name)["logs_preview"], name


def test_a_cancelled_build_keeps_its_last_lines_and_says_who_and_why(
    portal: Portal, cluster: DevCluster
) -> None:
    running_build(portal, cluster, "build-kept")
    first = portal.request("POST", "/builds/build-kept/cancel", {"reason": "not needed"})
    assert first.status in (200, 202)
    build = carried_out(portal, "build-kept")
    assert cluster.job_gone("build-kept")
    assert build["cancellation"]["reason"] == "not needed"
    assert build["cancellation"]["cleanup"] == {"job": "deleted", "pods": "gone", "event": None}
    assert build["logs_source"] == "archived"
    assert build["logs_preview"]
    second = portal.request("POST", "/builds/build-kept/cancel")
    assert (second.status, second.body["code"]) == (409, "build_already_cancelled")


def test_twenty_callers_cancel_once(portal: Portal, cluster: DevCluster) -> None:
    running_build(portal, cluster, "build-crowd")
    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(lambda _: portal.request("POST", "/builds/build-crowd/cancel"), range(20)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 202, 409}, answers
    assert any(status in (200, 202) for status in statuses)
    build = carried_out(portal, "build-crowd")
    assert transitions_to(build, "cancelling") == 1
    assert transitions_to(build, "cancelled") == 1


def test_with_the_cluster_away_the_wish_waits_for_it(portal: Portal, cluster: DevCluster) -> None:
    running_build(portal, cluster, "build-away")
    cluster.pause()
    try:
        answer = ask_while_something_is_away(portal, "build-away")
        time.sleep(3)
        assert portal.build("build-away")["status"] == "cancelling"
    finally:
        cluster.resume()
    assert answer.body["status"] == "cancelling"
    assert carried_out(portal, "build-away")["cancellation"]["cleanup"]["job"] == "deleted"
    assert cluster.job_gone("build-away")


def test_with_the_broker_away_the_wish_waits_for_it(
    portal: Portal, cluster: DevCluster, broker: Valkey
) -> None:
    running_build(portal, cluster, "build-no-broker")
    with broker.stopped():
        answer = ask_while_something_is_away(portal, "build-no-broker")
    assert answer.body["status"] in ("cancelling", "cancelled")
    assert (
        carried_out(portal, "build-no-broker", BROKER_BACK_WITHIN_S)["cancellation"]["cleanup"]["job"]
        == "deleted"
    )


def test_with_a_broker_that_does_not_answer_the_request_does_not_wait_for_it(
    portal: Portal, cluster: DevCluster, broker: Valkey
) -> None:
    running_build(portal, cluster, "build-silent-broker")
    with broker.silent():
        ask_while_something_is_away(portal, "build-silent-broker")
    carried_out(portal, "build-silent-broker", BROKER_BACK_WITHIN_S)


def test_with_the_worker_killed_in_the_middle_another_one_carries_it_out(
    portal: Portal, cluster: DevCluster
) -> None:
    running_build(portal, cluster, "build-orphaned")
    cluster.pause()
    try:
        ask_while_something_is_away(portal, "build-orphaned")
        time.sleep(0.5)
        portal.kill("worker")
    finally:
        cluster.resume()
    build = carried_out(portal, "build-orphaned", 30)
    assert build["cancellation"]["cleanup"]["job"] == "deleted"
    assert transitions_to(build, "cancelled") == 1


def ask_while_something_is_away(portal: Portal, name: str) -> Answer:
    begin_s = time.monotonic()
    answer = portal.request("POST", f"/builds/{name}/cancel")
    assert time.monotonic() - begin_s < 3
    assert answer.status in (200, 202), answer
    return answer
