"""What is known of each worker, and when it counts as lost; no I/O, the clock is the caller's.

All times here are the collector's monotonic seconds at which something arrived, so a worker's own clock
does not matter.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from builds.stats.snapshot import WorkerFacts


@dataclass
class _Entry:
    seen: float
    has_left: bool = False
    concurrency: int | None = None
    active: int | None = None
    reserved: int | None = None
    scheduled: int | None = None
    processed: int | None = None


class WorkerBook:
    """Filled by one thread that listens and one that asks, read by a third.

    online: heard within lost_s and not said goodbye. Silence counts from the time since which the collector
    has been listening: while the broker is away nobody can be heard.
    """

    def __init__(self, *, lost_s: float, forgotten_s: float) -> None:
        self._lost_s = lost_s
        self._forgotten_s = forgotten_s
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._listening_since = float("-inf")

    def began_listening(self, now: float) -> None:
        """The broker is (again) in reach."""
        with self._lock:
            self._listening_since = now

    def heard(self, name: str, now: float, *, active: int | None, processed: int | None) -> bool:
        """A heartbeat came. Whether this worker is new, so that it should be asked about the rest."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry(now))
            is_new = entry.concurrency is None or entry.has_left
            entry.seen, entry.has_left = now, False
            entry.active, entry.processed = active, processed
            return is_new

    def answered(self, name: str, now: float, **figures: int) -> None:
        """It answered a question. After a goodbye that is a late answer, and no sign of life."""
        with self._lock:
            entry = self._entries.setdefault(name, _Entry(now))
            if entry.has_left:
                return
            entry.seen = now
            for figure, value in figures.items():
                setattr(entry, figure, value)

    def said_goodbye(self, name: str, now: float) -> None:
        """It is shutting down in good order."""
        with self._lock:
            self._entries.setdefault(name, _Entry(now)).has_left = True

    def heard_within(self, span_s: float, now: float) -> list[str]:
        """The names of those worth asking: one that died a moment ago would cost the asker its timeout."""
        with self._lock:
            return sorted(
                name
                for name, entry in self._entries.items()
                if not entry.has_left and now - entry.seen <= span_s
            )

    def facts(self, now: float, server_now: datetime) -> tuple[WorkerFacts, ...]:
        """All workers by name; those offline for longer than forgotten_s are dropped."""
        with self._lock:
            for name in [n for n, entry in self._entries.items() if now - entry.seen > self._forgotten_s]:
                del self._entries[name]
            return tuple(
                self._facts_of(name, entry, now, server_now) for name, entry in sorted(self._entries.items())
            )

    def _facts_of(self, name: str, entry: _Entry, now: float, server_now: datetime) -> WorkerFacts:
        silent_s = now - max(entry.seen, self._listening_since)
        return WorkerFacts(
            name=name,
            is_online=not entry.has_left and silent_s <= self._lost_s,
            concurrency=entry.concurrency,
            active=entry.active,
            reserved=entry.reserved,
            scheduled=entry.scheduled,
            processed=entry.processed,
            last_seen_at=server_now - timedelta(seconds=now - entry.seen),
        )
