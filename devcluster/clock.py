"""Wall-clock time in the forms of the Kubernetes API, and named timers; holds no cluster state."""

import asyncio
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime

_ahead_s = 0.0


def set_ahead(seconds: float) -> None:
    """From now on all times that clients see are shifted; time passes as before."""
    global _ahead_s  # noqa: PLW0603 - one clock per process
    _ahead_s = seconds


def now() -> float:
    """Seconds since the epoch. Wall-clock time, because due times must survive a restart."""
    return time.time()


def stamp(at: float) -> str:
    """metav1.Time: whole seconds, truncated."""
    return datetime.fromtimestamp(int(at + _ahead_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_micro(at: float) -> str:
    """metav1.MicroTime: six digits."""
    return datetime.fromtimestamp(at + _ahead_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stamp_nano(at: float) -> str:
    """The time in front of a log record: nine digits."""
    nanoseconds = round(at * 1e9) % 1_000_000_000
    return f"{datetime.fromtimestamp(int(at + _ahead_s), UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def parse(text: str) -> float:
    """A time that clients see to seconds since the epoch; raises ValueError."""
    return datetime.fromisoformat(text).timestamp() - _ahead_s


class Timers:
    """One timer per key, at wall-clock times; the loop keeps them in one heap, so idle ones are free."""

    def __init__(self) -> None:
        self._timers: dict[Hashable, tuple[float, asyncio.TimerHandle]] = {}

    def set(self, key: Hashable, due_at: float, call: Callable[[], None]) -> None:
        """Call at `due_at`, in place of what the key was set to."""
        self.cancel(key)
        handle = asyncio.get_running_loop().call_later(max(0.0, due_at - now()), self._fire, key, call)
        self._timers[key] = (due_at, handle)

    def set_if_sooner(self, key: Hashable, due_at: float, call: Callable[[], None]) -> None:
        """As set(), unless the key is due sooner already."""
        current = self._timers.get(key)
        if current is None or due_at < current[0]:
            self.set(key, due_at, call)

    def cancel(self, key: Hashable) -> None:
        current = self._timers.pop(key, None)
        if current is not None:
            current[1].cancel()

    def _fire(self, key: Hashable, call: Callable[[], None]) -> None:
        self._timers.pop(key, None)
        call()
