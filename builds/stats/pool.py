"""The body of GET /async-jobs/stats and the pool's part of /readyz; asks no worker."""

import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from django.conf import settings
from django.db.models import Count, Q

from buildportal import broker, outcomes
from buildportal.outcomes import OutcomeCounts
from builds.models import Access, Build
from builds.states import Reason, Status
from builds.stats import snapshot
from builds.stats.snapshot import Snapshot, WorkerFacts

# kombu's Redis transport: a queue's messages lie in one list per step of priority, the oldest at the right.
_PRIORITY_ENDINGS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_UNACKED_KEY = "unacked"


@dataclass(frozen=True, slots=True)
class _Queue:
    name: str
    depth: int
    oldest_age_s: float | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What Redis said, all at the same moment of its clock."""

    server_now: datetime
    workers: Snapshot | None
    outcomes: OutcomeCounts | None
    queues: tuple[_Queue, ...]
    unacked: int

    @property
    def age_s(self) -> float | None:
        """The age of the worker facts."""
        return (
            None
            if self.workers is None
            else max(0.0, (self.server_now - self.workers.taken_at).total_seconds())
        )

    @property
    def is_stale(self) -> bool:
        """Whether the worker facts are missing, or too old to conclude anything from."""
        return self.age_s is None or self.age_s > settings.STATS_STALE_S


def pool_statistics(access: Access) -> dict[str, Any]:
    """The answer without its envelope; costs one query and at most REDIS_TIMEOUT_S.

    worker_count, active, reserved, scheduled, workers, is_shutdown: the collector's snapshot. processed
    (= succeeded + failed), succeeded, failed, retried, results_count: counted by the workers' task class;
    ticks of the clock are tasks like others. queue_size: messages not handed to a worker yet, plus builds
    that wait for creation, of all customers; unacked: messages handed out and not finished. builds: the
    caller's customers only. Raises DatabaseError; a broker out of reach makes its figures None.
    """
    builds = _count_builds(access)
    try:
        reading = _read()
    except redis.RedisError:
        reading = None
    waiting = builds.pop("waiting")
    return (
        _worker_figures(reading, shows_names=access.is_staff)
        | _queue_figures(reading, waiting)
        | _outcome_figures(reading.outcomes if reading else None)
        | {"builds": builds}
    )


def health() -> dict[str, dict[str, Any]]:
    """Whether the broker answers and workers live; `age`: the seconds since that was known, or None."""
    try:
        pipeline = broker.client().pipeline(transaction=False)
        pipeline.time()
        pipeline.get(snapshot.KEY)
        now, stored = pipeline.execute()
    except redis.RedisError:
        return {name: {"status": "degraded", "age": None} for name in ("broker", "workers")}
    reading = _Reading(snapshot.server_time(now), snapshot.decode(stored), None, (), 0)
    has_workers = reading.workers is not None and bool(reading.workers.online) and not reading.is_stale
    return {
        "broker": {"status": "ok", "age": 0.0},
        "workers": {"status": "ok" if has_workers else "degraded", "age": _rounded(reading.age_s)},
    }


# --- Reading --------------------------------------------------------------------------------------------


def _read() -> _Reading:
    """Raises redis.RedisError."""
    keys = [name + ending for name in settings.TASK_QUEUES for ending in _PRIORITY_ENDINGS]
    pipeline = broker.client().pipeline(transaction=False)
    pipeline.time()
    pipeline.get(snapshot.KEY)
    outcomes.ask_for_counts(pipeline)
    pipeline.hlen(_UNACKED_KEY)
    for key in keys:
        pipeline.llen(key)
        pipeline.lindex(key, -1)
    time, stored, totals, minutes, unacked, *lists = pipeline.execute()
    server_now = snapshot.server_time(time)
    steps = len(_PRIORITY_ENDINGS)
    per_queue = [lists[start : start + 2 * steps] for start in range(0, len(lists), 2 * steps)]
    return _Reading(
        server_now=server_now,
        workers=snapshot.decode(stored),
        outcomes=outcomes.counts_from(totals, minutes, server_now),
        queues=tuple(
            _Queue(name, sum(answers[::2]), _oldest_age_s(answers[1::2], server_now))
            for name, answers in zip(settings.TASK_QUEUES, per_queue, strict=True)
        ),
        unacked=unacked,
    )


def _oldest_age_s(messages: list[str | None], server_now: datetime) -> float | None:
    """The longest wait among the lists' oldest messages; None if there are none or they do not say."""
    sent = [_sent_at(message) for message in messages if message]
    known = [moment for moment in sent if moment is not None]
    # The sender's clock may be ahead of Redis's.
    return max(0.0, server_now.timestamp() - min(known)) if known else None


def _sent_at(message: str) -> float | None:
    try:
        value = json.loads(message)["headers"]["sent_at"]
    except (ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, float) else None


def _count_builds(access: Access) -> dict[str, int]:
    """`pending` and `running` of the caller's customers, `waiting` for creation of all."""
    customers = access.third_party_ids
    theirs = Q() if customers is None else Q(third_party_id__in=customers)
    return Build.objects.filter(status__in=(Status.PENDING, Status.RUNNING)).aggregate(
        pending=Count("pk", filter=Q(theirs, status=Status.PENDING)),
        running=Count("pk", filter=Q(theirs, status=Status.RUNNING)),
        waiting=Count("pk", filter=Q(status=Status.PENDING, status_reason=Reason.QUEUED, uid=None)),
    )


# --- The parts of the answer ------------------------------------------------------------------------------


def _worker_figures(reading: _Reading | None, *, shows_names: bool) -> dict[str, Any]:
    workers = reading.workers if reading else None
    if reading is None or workers is None:
        figures = (
            "worker_count",
            "active",
            "reserved",
            "scheduled",
            "is_shutdown",
            "workers",
            "as_of",
            "age",
        )
        return dict.fromkeys(figures) | {"stale": True}
    return {
        "worker_count": workers.total("concurrency"),
        **{figure: workers.total(figure) for figure in ("active", "reserved", "scheduled")},
        "is_shutdown": None if reading.is_stale else not workers.online,
        "workers": [_shown(worker, shows_names=shows_names) for worker in workers.workers],
        "as_of": _iso(workers.taken_at),
        "age": _rounded(reading.age_s),
        "stale": reading.is_stale,
    }


def _shown(worker: WorkerFacts, *, shows_names: bool) -> dict[str, Any]:
    return {
        "name": worker.name if shows_names else _alias(worker.name),
        "status": "online" if worker.is_online else "offline",
        "concurrency": worker.concurrency,
        "active": worker.active if worker.is_online else 0,
        "processed": worker.processed,
        "last_seen": _iso(worker.last_seen_at),
    }


def _alias(name: str) -> str:
    """The same word for the same worker on every host and over restarts, and no way back to its name."""
    digest = hmac.digest(settings.SECRET_KEY.encode(), f"worker:{name}".encode(), "sha256")
    return f"worker-{digest.hex()[:8]}"


def _queue_figures(reading: _Reading | None, waiting: int) -> dict[str, Any]:
    figures: dict[str, Any] = dict.fromkeys(("queue_size", "total_queued", "queues", "unacked"))
    if reading:
        size = sum(queue.depth for queue in reading.queues) + waiting
        held = [
            reading.workers.total(part) if reading.workers else None for part in ("reserved", "scheduled")
        ]
        figures = {
            "queue_size": size,
            "total_queued": None if None in held else size + sum(part or 0 for part in held),
            "queues": [
                {"name": queue.name, "depth": queue.depth, "oldest_age": _rounded(queue.oldest_age_s)}
                for queue in reading.queues
            ],
            "unacked": reading.unacked,
        }
    return figures | {"max_queue_size": settings.MAX_QUEUE_SIZE}


def _outcome_figures(counts: OutcomeCounts | None) -> dict[str, Any]:
    if counts is None:
        return dict.fromkeys(
            ("results_count", "processed", "succeeded", "failed", "retried", "counting_since")
        )
    return {
        "results_count": counts.last_hour,
        "processed": counts.processed,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "retried": counts.retried,
        "counting_since": _iso(counts.since),
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
