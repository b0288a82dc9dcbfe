"""What was last seen of the workers, as it lies in Redis; asks no worker.

Its times are by Redis's clock: writer and reader may be hosts whose clocks disagree.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

KEY = "buildportal:workers"
# A collector that is gone this long leaves nothing that is worth showing.
KEPT_S = 120


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker; a figure is None until the worker has told it."""

    name: str
    is_online: bool
    concurrency: int | None
    active: int | None
    reserved: int | None
    scheduled: int | None
    processed: int | None
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All workers at one time; those that went offline lately are listed too."""

    taken_at: datetime
    workers: tuple[WorkerFacts, ...]

    @property
    def online(self) -> tuple[WorkerFacts, ...]:
        """The live ones."""
        return tuple(worker for worker in self.workers if worker.is_online)

    def total(self, figure: str) -> int | None:
        """The sum of a figure over the live workers; None if one of them has not told it."""
        values = [getattr(worker, figure) for worker in self.online]
        return None if None in values else sum(values)


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def decode(stored: str | None) -> Snapshot | None:
    """The snapshot; None if there is none, or it is of another version of the portal."""
    if not stored:
        return None
    try:
        return msgspec.json.decode(stored, type=Snapshot)
    except msgspec.DecodeError:
        return None


def server_time(answer: Any) -> datetime:
    """The answer of Redis's TIME: seconds and microseconds."""
    seconds, microseconds = answer
    return datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)
