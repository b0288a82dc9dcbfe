"""Counting how tasks end: by real workers, and while the broker is away."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from buildportal import broker, outcomes
from buildportal.outcomes import Outcome, OutcomeCounter
from tests.processes import Process
from tests.stats.conftest import stats, wait_for
from tests.stats.tasks_for_tests import fail, fail_once, succeed
from tests.valkey import Valkey


def test_successes_failures_and_retries_of_a_worker(start: Callable[..., Process]) -> None:
    start("worker")
    for _ in range(3):
        succeed.delay()
    fail.delay()
    fail.delay()
    fail_once.delay()

    counted = wait_for(15, succeeded=4, failed=2, retried=1)

    assert counted["processed"] == counted["results_count"] == 6
    since = datetime.fromisoformat(counted["counting_since"])
    assert abs((datetime.now(UTC) - since).total_seconds()) < 60


def test_counts_survive_workers_and_the_broker(start: Callable[..., Process], empty_valkey: Valkey) -> None:
    first = start("worker")
    succeed.delay()
    before = wait_for(10, succeeded=1)
    first.kill()
    with empty_valkey.stopped():
        pass
    start("worker", "second")
    succeed.delay()

    after = wait_for(15, succeeded=2)

    assert after["counting_since"] == before["counting_since"]


def test_only_the_last_hour_makes_results(empty_valkey: Valkey, db: None) -> None:
    OutcomeCounter().count(Outcome.SUCCEEDED)
    this_minute = int(time.time()) // 60
    for minutes_ago, number in ((30, 5), (58, 7), (61, 100), (500, 100)):
        broker.client().hset(outcomes.MINUTES_KEY, str(this_minute - minutes_ago), number)

    assert stats()["results_count"] == 13


def test_old_minutes_are_dropped_when_a_new_one_begins(empty_valkey: Valkey) -> None:
    this_minute = int(time.time()) // 60
    broker.client().hset(outcomes.MINUTES_KEY, str(this_minute - 61), 100)

    OutcomeCounter().count(Outcome.FAILED)

    minutes = {int(minute) for minute in broker.client().hkeys(outcomes.MINUTES_KEY)}
    assert minutes <= {this_minute, this_minute + 1}
    assert 0 < broker.client().ttl(outcomes.MINUTES_KEY) <= 3600


def test_outcomes_of_an_outage_are_counted_after_it(
    empty_valkey: Valkey, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "PAUSE_S", 0.2)
    counter = OutcomeCounter()
    counter.count(Outcome.SUCCEEDED)
    with empty_valkey.stopped():
        began = time.monotonic()
        for _ in range(50):
            counter.count(Outcome.FAILED)
        assert time.monotonic() - began < 0.2
    time.sleep(0.3)

    counter.count(Outcome.SUCCEEDED)

    now = stats()
    assert (now["succeeded"], now["failed"]) == (2, 50)


def test_silent_broker_slows_few_tasks_and_counts_none_twice(empty_valkey: Valkey, db: None) -> None:
    counter = OutcomeCounter()
    with empty_valkey.silent():
        began = time.monotonic()
        for _ in range(50):
            counter.count(Outcome.SUCCEEDED)
        assert time.monotonic() - began < 1.2
    assert (stats()["succeeded"] or 0) <= 50


def test_task_is_not_failed_by_a_broker_that_cannot_count(
    start: Callable[..., Process], empty_valkey: Valkey
) -> None:
    worker = start("worker")
    # A value of another kind makes every count an error.
    broker.client().set(outcomes.TOTALS_KEY, "not a hash")
    succeed.delay()

    worker.wait_for_output("wait to be counted")
    broker.client().delete(outcomes.TOTALS_KEY)
    time.sleep(outcomes.PAUSE_S)
    succeed.delay()

    wait_for(10, succeeded=2, failed=0)


def test_eager_runs_are_no_work_of_the_pool(empty_valkey: Valkey, db: None) -> None:
    succeed.apply()

    assert stats()["succeeded"] is None
