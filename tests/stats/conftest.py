"""Workers and collectors as processes for the tests of the statistics; holds no test."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from builds.models import Access, Scope
from builds.stats import pool_statistics
from tests.processes import Process, wait_until
from tests.valkey import Valkey

# As long as a worker may be silent in these tests; its heartbeats come every 2 s.
LOST_S = 4
STAFF = Access(
    actor="staff", key="user:1", scopes=frozenset({Scope.STATS_READ}), third_party_ids=None, is_staff=True
)
CUSTOMER = Access(
    actor="token:one", key="token:1", scopes=frozenset({Scope.STATS_READ}), third_party_ids=frozenset({"one"})
)


@pytest.fixture
def empty_valkey(valkey: Valkey) -> Valkey:
    """The server without anything in it."""
    from buildportal import broker

    valkey.start()
    broker.client().flushall()
    return valkey


@pytest.fixture
def start(empty_valkey: Valkey, process_environment: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """`start("worker", name, **options)` or `start("collector")`; both are killed at the end."""
    env = process_environment | {"WORKER_LOST_S": str(LOST_S), "STATS_INTERVAL_S": "0.5"}
    with ExitStack() as running:

        def starter(
            kind: str, name: str = "one", *options: str, concurrency: int = 2, wait: bool = True
        ) -> Process:
            if kind == "collector":
                return running.enter_context(Process.manage("collect_stats", env=env))
            process = running.enter_context(
                Process.worker(
                    name,
                    "--include",
                    "tests.stats.tasks_for_tests",
                    *options,
                    env=env,
                    concurrency=concurrency,
                )
            )
            if wait:
                process.wait_for_output("ready.")
            return process

        yield starter


def stats(access: Access = STAFF) -> dict[str, Any]:
    """What a request would be told now."""
    return pool_statistics(access)


def wait_for(timeout_s: float, **expected: Any) -> dict[str, Any]:
    """The first statistics that hold all the expected figures."""
    seen: dict[str, Any] = {}

    def matches() -> bool:
        seen.update(stats())
        return all(seen[key] == value for key, value in expected.items())

    try:
        wait_until(matches, timeout_s, f"{expected}", every_s=0.1)
    except AssertionError as error:
        error.add_note(f"last seen: {seen}")
        raise
    return seen


def pause(process: Process) -> Callable[[], None]:
    """Stop a process in its tracks; call the answer to let it go on."""
    process.send(signal.SIGSTOP)
    return lambda: process.send(signal.SIGCONT)
