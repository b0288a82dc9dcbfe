"""How tasks ended, counted in Redis by the workers themselves; knows no task, and never holds one up."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import redis
import structlog

from buildportal import broker

TOTALS_KEY = "buildportal:outcomes"
MINUTES_KEY = "buildportal:outcomes:minutes"
MINUTES_KEPT = 60
# How long a worker counts in its own memory after Redis has failed it once.
PAUSE_S = 5.0

logger = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How one run of a task ended. A retry is no end: the task will run again."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"


# Redis's clock alone says what the last hour is, whatever the workers' clocks say.
# KEYS: totals, minutes. ARGV: minutes kept, then pairs of outcome and number.
_COUNT = """
local seconds = tonumber(redis.call('TIME')[1])
redis.call('HSETNX', KEYS[1], 'since', seconds)
local ended = 0
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  if ARGV[i] ~= 'retried' then ended = ended + tonumber(ARGV[i + 1]) end
end
if ended > 0 then
  local minute = math.floor(seconds / 60)
  if redis.call('HINCRBY', KEYS[2], minute, ended) == ended then
    for _, old in ipairs(redis.call('HKEYS', KEYS[2])) do
      if tonumber(old) <= minute - tonumber(ARGV[1]) then redis.call('HDEL', KEYS[2], old) end
    end
  end
  redis.call('EXPIRE', KEYS[2], 60 * ARGV[1])
end
return 0
"""


class OutcomeCounter:
    """Adds outcomes to Redis, at most one slow attempt each PAUSE_S; what fails to arrive is sent later.

    A batch whose answer timed out may have been counted, so it is not sent again: outcomes can be missing
    from the totals after an outage, and are never in them twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[Outcome] = Counter()
        self._try_again_at = 0.0
        self._is_away = False

    def count(self, outcome: Outcome) -> None:
        """Count one outcome. Raises nothing for a Redis that is away or silent."""
        with self._lock:
            self._pending[outcome] += 1
            if time.monotonic() < self._try_again_at:
                return
            batch, self._pending = self._pending, Counter()
            if self._is_away:
                # The others go on counting in memory while this attempt may wait.
                self._try_again_at = time.monotonic() + PAUSE_S
        try:
            _add(batch)
        except redis.TimeoutError as error:
            self._went_away(error, Counter(), dropped=batch.total())
        except redis.RedisError as error:
            self._went_away(error, batch, dropped=0)
        else:
            self._is_back()

    def _went_away(self, error: Exception, batch: Counter[Outcome], dropped: int) -> None:
        with self._lock:
            self._pending.update(batch)
            self._try_again_at = time.monotonic() + PAUSE_S
            is_news, self._is_away = not self._is_away, True
        if is_news or dropped:
            logger.warning("Task outcomes wait to be counted.", reason=str(error), perhaps_uncounted=dropped)

    def _is_back(self) -> None:
        with self._lock:
            is_news, self._is_away, self._try_again_at = self._is_away, False, 0.0
        if is_news:
            logger.info("Task outcomes are counted again.")


_counter = OutcomeCounter()


def count(outcome: Outcome) -> None:
    """Count one outcome of this process's tasks; see OutcomeCounter."""
    _counter.count(outcome)


def begin(server_now: datetime) -> None:
    """Mark the start of counting, unless it is marked. Raises redis.RedisError."""
    broker.client().hsetnx(TOTALS_KEY, "since", str(int(server_now.timestamp())))


def _add(batch: Counter[Outcome]) -> None:
    pairs = [part for outcome, number in batch.items() for part in (outcome.value, number)]
    broker.client().register_script(_COUNT)(keys=[TOTALS_KEY, MINUTES_KEY], args=[MINUTES_KEPT, *pairs])


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """The totals since `since`, and the ends (succeeded and failed) of the last 60 minutes, to the minute."""

    succeeded: int
    failed: int
    retried: int
    last_hour: int
    since: datetime

    @property
    def processed(self) -> int:
        """Runs that came to an end."""
        return self.succeeded + self.failed


def ask_for_counts(pipeline: Any) -> None:
    """Put the two reads on a pipeline; their answers go to `counts_from`."""
    pipeline.hgetall(TOTALS_KEY)
    pipeline.hgetall(MINUTES_KEY)


def counts_from(
    totals: dict[str, str], minutes: dict[str, str], server_now: datetime
) -> OutcomeCounts | None:
    """The counts out of the answers; None if nothing has begun to count."""
    if "since" not in totals:
        return None
    oldest = int(server_now.timestamp()) // 60 - MINUTES_KEPT
    return OutcomeCounts(
        succeeded=int(totals.get(Outcome.SUCCEEDED, 0)),
        failed=int(totals.get(Outcome.FAILED, 0)),
        retried=int(totals.get(Outcome.RETRIED, 0)),
        last_hour=sum(int(number) for minute, number in minutes.items() if int(minute) > oldest),
        since=datetime.fromtimestamp(int(totals["since"]), UTC),
    )
