"""What a person or a program may ask for: the wish is stored first, then a worker is nudged."""

import enum
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction

from buildportal import telemetry
from builds import tasks
from builds.models import Access, Build, Cancellation, Scope
from builds.states import CANCELLABLE, Status

# Under a bounded wait: soon enough to be felt as at once, seldom enough to cost little.
_LOOK_EVERY_S = 0.02
# The sweeper leaves a fresh wish to the worker that was nudged for it.
_NUDGE_HEADSTART = timedelta(seconds=1)


class CancelOutcome(enum.Enum):
    """What the call found."""

    STARTED = "started"
    ALREADY_CANCELLING = "already_cancelling"
    ALREADY_FINISHED = "already_finished"


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """The build as it stands after the wait, and the state that the call found it in."""

    outcome: CancelOutcome
    build: Build
    previous_status: str


def cancel(
    build: Build, *, by: Access, reason: str = "", source: str = "api", wait_s: float | None = None
) -> CancelAnswer:
    """Wish the build cancelled. Of any number of concurrent calls exactly one starts the cancellation.

    Waits at most wait_s (default CANCEL_WAIT_S) for the cluster's confirmation, and for nothing else: with
    the broker or the cluster away the wish stays, and the sweeper carries it out.
    """
    while build.status in CANCELLABLE:
        previous_status = build.status
        if _wish(build, by=by, reason=reason, source=source):
            _wait(build, settings.CANCEL_WAIT_S if wait_s is None else wait_s)
            return CancelAnswer(CancelOutcome.STARTED, build, previous_status)
    found = (
        CancelOutcome.ALREADY_CANCELLING
        if build.status == Status.CANCELLING
        else CancelOutcome.ALREADY_FINISHED
    )
    return CancelAnswer(found, build, build.status)


def cancel_refusal(build: Build, access: Access) -> str | None:
    """Why this caller may not cancel this build now, in words; None if they may."""
    if not access.may(Scope.BUILDS_CANCEL):
        return "You do not have the permission to cancel builds."
    if build.status == Status.CANCELLING:
        return "The build is being cancelled already."
    if build.is_finished:
        return f"The build has already {_ENDED[Status(build.status)]}."
    return None


_ENDED = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "been cancelled",
}


def _wish(build: Build, *, by: Access, reason: str, source: str) -> bool:
    """Store the wish and its history in one transaction; False, and a fresh row, if another was first."""
    previous_status = build.status
    correlation_id = telemetry.current_correlation_id()
    now = datetime.now(UTC)
    with transaction.atomic():
        event = build.move_to(
            Status.CANCELLING,
            source=source,
            actor=by.actor,
            message=reason,
            correlation_id=correlation_id,
        )
        if event is None:
            return False
        Cancellation.objects.create(
            build=build,
            requested_at=now,
            requested_by=by.actor,
            reason=reason,
            previous_status=previous_status,
            correlation_id=correlation_id,
            next_try_at=now + _NUDGE_HEADSTART,
        )
        transaction.on_commit(lambda: tasks.nudge(tasks.carry_out_cancellation, build.pk))
    return True


def _wait(build: Build, wait_s: float) -> None:
    """Look at the row until the wish is fulfilled or refused by the facts, or the time is over."""
    until = time.monotonic() + wait_s
    while build.status == Status.CANCELLING and time.monotonic() < until:
        time.sleep(min(_LOOK_EVERY_S, max(0.0, until - time.monotonic())))
        if Build.objects.filter(pk=build.pk).exclude(status=Status.CANCELLING).exists():
            build.refresh_from_db()
