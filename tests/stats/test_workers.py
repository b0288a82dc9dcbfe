"""What the statistics say of real worker processes that come, die and fall silent."""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from buildportal import broker
from builds.stats import health, snapshot
from tests.processes import Process, wait_until
from tests.stats.conftest import CUSTOMER, LOST_S, stats, wait_for
from tests.stats.tasks_for_tests import sleep
from tests.valkey import Valkey

Start = Callable[..., Process]


def test_slots_of_two_workers_then_one_killed_then_none(start: Start) -> None:
    start("collector")
    one = start("worker", "one", concurrency=2, wait=False)
    start("worker", "two", concurrency=3)
    one.wait_for_output("ready.")

    both = wait_for(15, worker_count=5, is_shutdown=False, stale=False)
    assert [worker["name"].split("@")[0] for worker in both["workers"]] == ["one", "two"]
    assert {worker["status"] for worker in both["workers"]} == {"online"}
    assert health()["workers"]["status"] == "ok"

    one.kill()
    left = wait_for(LOST_S + 4, worker_count=3, is_shutdown=False)
    assert [worker["status"] for worker in left["workers"]] == ["offline", "online"]


def test_last_worker_stopped_in_order_is_shutdown_at_once(start: Start) -> None:
    start("collector")
    worker = start("worker")
    wait_for(15, worker_count=2)

    worker.terminate()

    wait_for(2.5, worker_count=0, is_shutdown=True, active=0, reserved=0, scheduled=0)
    assert health()["workers"]["status"] == "degraded"


def test_no_worker_was_ever_there(start: Start) -> None:
    start("collector")

    nobody = wait_for(15, stale=False)

    assert nobody["is_shutdown"] is True
    assert (nobody["worker_count"], nobody["workers"]) == (0, [])


def test_active_reserved_and_scheduled(start: Start) -> None:
    start("collector")
    start("worker", "one", "--prefetch-multiplier", "2", concurrency=2)
    sleep.apply_async((60,), countdown=300)
    for _ in range(7):
        sleep.delay(60)

    held = wait_for(15, active=2, reserved=2, scheduled=1, queue_size=3)

    assert held["total_queued"] == 6
    assert held["workers"][0]["active"] == 2
    assert held["unacked"] == 5


def test_figures_are_at_most_five_seconds_old(start: Start) -> None:
    start("collector")
    start("worker")
    wait_for(15, worker_count=2)
    for _ in range(10):
        now = stats()
        last_seen = datetime.fromisoformat(now["workers"][0]["last_seen"])
        assert now["age"] < 5
        assert datetime.now(UTC) - last_seen < timedelta(seconds=5)
        time.sleep(0.3)


def test_host_names_are_for_staff_and_others_see_stable_names(start: Start) -> None:
    start("collector")
    start("worker", "secret-host")
    wait_for(15, worker_count=2)

    (staff,), (theirs,), (again,) = stats()["workers"], stats(CUSTOMER)["workers"], stats(CUSTOMER)["workers"]

    assert "secret-host" in staff["name"]
    assert "secret-host" not in str(stats(CUSTOMER))
    assert theirs["name"] == again["name"]
    assert theirs["name"].startswith("worker-")


def test_collector_stops_within_two_seconds_and_what_it_knew_becomes_stale(
    start: Start, settings: Settings
) -> None:
    collector = start("collector")
    start("worker")
    wait_for(15, worker_count=2)

    began = time.monotonic()
    assert collector.terminate() == 0
    assert time.monotonic() - began < 2

    settings.STATS_STALE_S = 0.5
    old = wait_for(2, stale=True)
    assert old["is_shutdown"] is None
    assert old["worker_count"] == 2

    start("collector")
    settings.STATS_STALE_S = 10
    wait_for(15, stale=False, worker_count=2, is_shutdown=False)


def test_new_collector_never_takes_unheard_workers_for_dead(start: Start) -> None:
    first = start("collector")
    start("worker")
    wait_for(15, worker_count=2)
    first.kill()
    start("collector")
    start("collector")

    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        now = stats()
        assert now["worker_count"] == 2
        assert now["is_shutdown"] is not True
        time.sleep(0.05)
    assert now["is_shutdown"] is False


@pytest.mark.parametrize("fault", ["stopped", "silent"])
def test_collector_outlives_the_broker_and_says_so_once(
    start: Start, empty_valkey: Valkey, fault: str
) -> None:
    collector = start("collector")
    start("worker")
    wait_for(15, worker_count=2)

    with getattr(empty_valkey, fault)():
        time.sleep(LOST_S + 2)
        away = stats()
    assert (away["worker_count"], away["is_shutdown"], away["stale"]) == (None, None, True)

    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert stats()["is_shutdown"] is not True
        time.sleep(0.05)
    wait_for(20, worker_count=2, stale=False, is_shutdown=False)
    assert collector.is_running
    assert collector.output.count("out of reach") <= 3
    assert len(collector.output.splitlines()) < 20


def test_worker_that_is_frozen_loses_its_slots_and_gets_them_back(start: Start) -> None:
    start("collector")
    worker = start("worker")
    wait_for(15, worker_count=2)

    worker.send(signal.SIGSTOP)
    wait_for(LOST_S + 4, worker_count=0, is_shutdown=True)
    worker.send(signal.SIGCONT)
    wait_for(10, worker_count=2, is_shutdown=False)


def test_snapshot_of_another_version_counts_as_none(empty_valkey: Valkey, db: None) -> None:
    broker.client().set(snapshot.KEY, '{"taken_at": 5}')

    unknown = stats()

    assert unknown["stale"] is True
    assert unknown["worker_count"] is None
    assert unknown["queue_size"] == 0
    wait_until(lambda: health()["broker"]["status"] == "ok", 1, "the broker answers")
