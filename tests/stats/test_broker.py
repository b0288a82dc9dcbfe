"""Queues and builds in the statistics, and what is said when the broker is away or silent."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from buildportal.celery import app
from builds.models import Build
from builds.states import Reason, Status
from builds.stats import health
from tests.processes import Process
from tests.stats.conftest import CUSTOMER, pause, stats, wait_for
from tests.stats.tasks_for_tests import sleep, succeed
from tests.valkey import Valkey

FROM_THE_BROKER = (
    *("worker_count", "active", "reserved", "scheduled", "is_shutdown", "workers", "as_of", "age"),
    *("queue_size", "total_queued", "queues", "unacked"),
    *("results_count", "processed", "succeeded", "failed", "retried", "counting_since"),
)


def make_builds(customer: str | None, *states: tuple[Status, Reason | None, str | None]) -> None:
    Build.objects.bulk_create(
        Build(
            namespace="knative-lambda",
            name=f"build-{customer}-{number}",
            uid=uid,
            third_party_id=customer,
            status=status,
            status_reason=reason,
            created_at=datetime.now(UTC),
        )
        for number, (status, reason, uid) in enumerate(states)
    )


def test_depth_and_age_of_queues_sum_their_priorities(empty_valkey: Valkey, db: None) -> None:
    for priority in (0, 3, 9):
        succeed.apply_async(queue="cancel", priority=priority)
    succeed.apply_async(queue="logs")
    time.sleep(0.2)

    now = stats()

    queues = {queue["name"]: queue for queue in now["queues"]}
    assert {name: queue["depth"] for name, queue in queues.items()} == {
        "cancel": 3,
        "sync": 0,
        "logs": 1,
        "default": 0,
    }
    assert 0.2 <= queues["cancel"]["oldest_age"] < 5
    assert queues["sync"]["oldest_age"] is None
    assert now["queue_size"] == 4
    assert now["total_queued"] is None  # no collector has said what workers hold


def test_oldest_age_is_null_for_messages_that_do_not_say(empty_valkey: Valkey, db: None) -> None:
    app.send_task("tests.succeed", queue="sync")

    queues = {queue["name"]: queue for queue in stats()["queues"]}

    assert (queues["sync"]["depth"], queues["sync"]["oldest_age"]) == (1, None)


def test_waiting_messages_of_a_paused_worker(start: Callable[..., Process]) -> None:
    worker = start("worker", concurrency=1)
    sleep.delay(0)
    wait_for(10, succeeded=1)
    go_on = pause(worker)
    for _ in range(10):
        succeed.delay()

    # One may already be in the paused worker's hands.
    waiting = stats()
    assert waiting["queue_size"] + waiting["unacked"] >= 9

    go_on()
    wait_for(10, succeeded=11, queue_size=0, unacked=0)


def test_builds_are_the_callers_and_waiting_creations_are_everybodys(empty_valkey: Valkey, db: None) -> None:
    make_builds(
        "one", (Status.PENDING, None, "a"), (Status.RUNNING, None, "b"), (Status.CANCELLING, None, "c")
    )
    make_builds("two", (Status.PENDING, Reason.QUEUED, None), (Status.PENDING, Reason.SUSPENDED, "d"))
    make_builds(None, (Status.RUNNING, None, "e"))

    assert stats(CUSTOMER)["builds"] == {"pending": 1, "running": 1}
    assert stats()["builds"] == {"pending": 3, "running": 2}
    assert stats(CUSTOMER)["queue_size"] == stats()["queue_size"] == 1


def test_one_query(empty_valkey: Valkey, db: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        stats(CUSTOMER)


def test_no_collector_yet_is_unknown(empty_valkey: Valkey, db: None) -> None:
    now = stats()

    assert now["stale"] is True
    for figure in ("worker_count", "active", "is_shutdown", "workers", "as_of", "age", "total_queued"):
        assert now[figure] is None, figure
    assert now["queue_size"] == 0
    assert now["max_queue_size"] == 100
    assert health() == {
        "broker": {"status": "ok", "age": 0.0},
        "workers": {"status": "degraded", "age": None},
    }


@pytest.mark.parametrize("fault", ["stopped", "silent"])
def test_broker_out_of_reach(empty_valkey: Valkey, db: None, settings: Settings, fault: str) -> None:
    make_builds("one", (Status.RUNNING, None, "a"))
    stats()  # a connection that was good before
    with getattr(empty_valkey, fault)():
        began = time.monotonic()
        now = stats(CUSTOMER)
        assert time.monotonic() - began < settings.REDIS_TIMEOUT_S + 0.2

        assert [figure for figure in FROM_THE_BROKER if now[figure] is not None] == []
        assert now["stale"] is True
        assert now["builds"] == {"pending": 0, "running": 1}
        assert health()["broker"] == {"status": "degraded", "age": None}
    assert stats()["queue_size"] == 0


def test_the_keys_are_the_same_whatever_is_known(empty_valkey: Valkey, db: None) -> None:
    known = stats()
    with empty_valkey.stopped():
        unknown = stats()

    assert known.keys() == unknown.keys()
