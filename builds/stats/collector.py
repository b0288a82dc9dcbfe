"""Hears and asks the workers, and writes what it knows to Redis; the one place that waits for workers.

Heartbeats come every 2 s with `active` and `processed`, from workers without `-E` too. Inspect tells the
rest; it waits its whole timeout unless all that were asked have answered, so it asks by name those that
were heard lately, and everybody now and then, for the sake of workers that send no heartbeats.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import redis
import structlog
from celery import Celery
from django.conf import settings
from kombu import Connection, Consumer
from kombu.exceptions import KombuError

from buildportal import broker, outcomes
from builds.stats import snapshot
from builds.stats.book import WorkerBook

ANSWER_TIMEOUT_S = 1.0
# Between two questions to everybody; such a question always takes the whole timeout.
CENSUS_INTERVAL_S = 6.0
# More than two heartbeats: who has missed these is not asked, so that the others' figures stay young.
WORTH_ASKING_S = 5.0
# One heartbeat and a bit: before that, "no worker" may mean "not heard yet".
SETTLING_S = 2.5
# Three heartbeats missed by everybody: there is no worker, or the connection is dead without a word.
LONGEST_SILENCE_S = 6.0
OFFLINE_LISTED_S = 600.0
LONGEST_PAUSE_S = 5.0
LONGEST_WRITE_INTERVAL_S = 1.0
POLL_S = 0.5

BROKER_ERRORS = (OSError, redis.RedisError, KombuError)

log = structlog.get_logger(__name__)


class _Outage:
    """One line when a loop loses the broker and one when it has it back, however often it tries."""

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._failures = 0

    def failed(self, error: Exception) -> float:
        """The seconds to wait before the next attempt."""
        if not self._failures:
            log.warning(
                "The broker is out of reach.", loop=self._loop, reason=f"{type(error).__name__}: {error}"
            )
        self._failures += 1
        return min(LONGEST_PAUSE_S, 0.25 * 2 ** min(self._failures, 6))

    def is_over(self) -> bool:
        """Whether there was an outage until now. To be called whenever the broker has answered."""
        failures, self._failures = self._failures, 0
        if failures:
            log.info("The broker is back.", loop=self._loop, failed_attempts=failures)
        return failures > 0


class Collector:
    """Three loops, for each the broker may come and go. Any number of collectors may run at once."""

    def __init__(self, app: "Celery[Any]", stop: threading.Event) -> None:
        self._app = app
        self._stop = stop
        self._book = WorkerBook(lost_s=settings.WORKER_LOST_S, forgotten_s=OFFLINE_LISTED_S)
        self._ask_now = threading.Event()
        self._everybody_asked = threading.Event()
        self._heard_since: float | None = None

    def run(self) -> None:
        """Collect until told to stop. Raises RuntimeError if a loop has died of something unforeseen."""
        loops = [
            threading.Thread(target=self._keep_up, args=(name, work), name=name, daemon=True)
            for name, work in (("listen", self._listen), ("ask", self._ask), ("write", self._write))
        ]
        for loop in loops:
            loop.start()
        while not self._stop.wait(POLL_S):
            dead = [loop.name for loop in loops if not loop.is_alive()]
            if dead:
                raise RuntimeError(f"The loop {dead[0]!r} has died; the reason stands above.")
        self._ask_now.set()
        deadline = time.monotonic() + 2 * POLL_S
        for loop in loops:
            # One that waits for a silent broker is left behind: it is a daemon.
            loop.join(max(0.0, deadline - time.monotonic()))

    def _keep_up(self, name: str, work: Callable[[_Outage], None]) -> None:
        outage = _Outage(name)
        while not self._stop.is_set():
            try:
                work(outage)
            except BROKER_ERRORS as error:
                self._stop.wait(outage.failed(error))

    # --- Listening ------------------------------------------------------------------------------------------

    def _listen(self, outage: _Outage) -> None:
        """Hear events over one connection until it breaks, or is so long silent that it may be dead."""
        with self._connected() as connection:
            receiver = self._app.events.Receiver(
                connection,
                handlers={
                    "worker-online": self._on_heartbeat,
                    "worker-heartbeat": self._on_heartbeat,
                    "worker-offline": self._on_goodbye,
                },
            )
            channel = connection.default_channel
            (consumer,) = receiver.get_consumers(partial(Consumer, channel), channel)
            with consumer:
                receiver.wakeup_workers(channel=channel)
                last_event = time.monotonic()
                if outage.is_over() or self._heard_since is None:
                    self._heard_since = last_event
                    self._book.began_listening(last_event)
                while not self._stop.is_set() and time.monotonic() - last_event < LONGEST_SILENCE_S:
                    try:
                        connection.drain_events(timeout=POLL_S)
                    except TimeoutError:
                        continue
                    last_event = time.monotonic()

    def _on_heartbeat(self, event: dict[str, Any]) -> None:
        figures = {figure: event.get(figure) for figure in ("active", "processed")}
        if self._book.heard(event["hostname"], time.monotonic(), **figures):
            self._ask_now.set()

    def _on_goodbye(self, event: dict[str, Any]) -> None:
        self._book.said_goodbye(event["hostname"], time.monotonic())

    # --- Asking ---------------------------------------------------------------------------------------------

    def _ask(self, outage: _Outage) -> None:
        """Questions every STATS_INTERVAL_S, at once when a new worker was heard, over one connection."""
        with self._connected() as connection:
            next_census = time.monotonic()
            while not self._stop.is_set():
                self._ask_now.clear()
                if time.monotonic() >= next_census:
                    self._put_questions(connection, everybody=True)
                    self._everybody_asked.set()
                    next_census = time.monotonic() + CENSUS_INTERVAL_S
                else:
                    self._put_questions(connection, everybody=False)
                outage.is_over()
                self._ask_now.wait(settings.STATS_INTERVAL_S)

    def _put_questions(self, connection: Connection, *, everybody: bool) -> None:
        names = None if everybody else self._book.heard_within(WORTH_ASKING_S, time.monotonic())
        stats = self._inspect(connection, "stats", names)
        for name, answer in stats.items():
            concurrency = answer.get("pool", {}).get("max-concurrency")
            processed = sum(answer.get("total", {}).values())
            if isinstance(concurrency, int):
                self._book.answered(name, time.monotonic(), concurrency=concurrency, processed=processed)
        for question in ("active", "reserved", "scheduled"):
            # Only those that have just answered: a dead one costs one timeout a round, not four.
            for name, tasks in self._inspect(connection, question, sorted(stats)).items():
                self._book.answered(name, time.monotonic(), **{question: len(tasks)})

    def _inspect(self, connection: Connection, question: str, names: list[str] | None) -> dict[str, Any]:
        """The answers by worker name; empty if nobody was asked or nobody answered."""
        if names == []:
            return {}
        inspect = self._app.control.inspect(
            destination=names,
            limit=len(names) if names else None,
            timeout=ANSWER_TIMEOUT_S,
            connection=connection,
        )
        answers: dict[str, Any] = getattr(inspect, question)() or {}
        return {name: answer for name, answer in answers.items() if isinstance(answer, (dict, list))}

    # --- Writing --------------------------------------------------------------------------------------------

    def _write(self, outage: _Outage) -> None:
        """Put the snapshot into Redis every second, or more often if so set."""
        interval_s = min(LONGEST_WRITE_INTERVAL_S, settings.STATS_INTERVAL_S)
        client = broker.client()
        while not self._stop.is_set():
            server_now = snapshot.server_time(client.time())
            if outage.is_over():
                # Nobody could be heard meanwhile, so nobody was silent.
                self._book.began_listening(time.monotonic())
            if self._has_settled():
                workers = self._book.facts(time.monotonic(), server_now)
                written = snapshot.Snapshot(taken_at=server_now, workers=workers)
                client.set(snapshot.KEY, snapshot.encode(written), ex=snapshot.KEPT_S)
            outcomes.begin(server_now)
            self._stop.wait(interval_s)

    def _has_settled(self) -> bool:
        """Whether an unheard worker would have been heard by now; before that nothing is written."""
        return (
            self._everybody_asked.is_set()
            and self._heard_since is not None
            and time.monotonic() - self._heard_since >= min(SETTLING_S, settings.WORKER_LOST_S)
        )

    def _connected(self) -> Connection:
        """A connection after one attempt; kombu's own would try for ever, and say so each time."""
        connection = self._app.connection_for_write()
        connection.connect()
        return connection
