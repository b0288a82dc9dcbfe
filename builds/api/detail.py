"""One build as GET /builds/{id} shows it, from stored rows alone: the cluster is not asked."""

from typing import Any

from django.db.models import OuterRef, Subquery

from builds import actions
from builds.api.errors import ApiError
from builds.api.listing import row_of
from builds.models import Access, Build, BuildLog, Cancellation, OutgoingEvent
from builds.models.outgoing import TYPE_PREFIX
from builds.states import Status

MOST_EVENTS = 100
MOST_ATTEMPTS = 100
_LONGEST_NAME = 253


def find(key: str, namespace: str | None, access: Access) -> Build:
    """The build of that uid or name and what belongs to it, in one query; another customer's is unknown."""
    build = None
    if len(key) <= _LONGEST_NAME and "\x00" not in key:
        told = OutgoingEvent.objects.filter(build=OuterRef("pk"), type=f"{TYPE_PREFIX}.cancelled")
        build = (
            Build.objects.visible_to(access)
            .select_related("log", "cancellation")
            .annotate(
                told_id=Subquery(told.values("id")[:1]),
                told_at=Subquery(told.values("sent_at")[:1]),
            )
            .with_listed_at()
            .named(key, namespace)
        )
    if build is None:
        raise ApiError(404, "build_not_found", "Build not found")
    return build


def describe(build: Build, access: Access, tail_lines: int) -> dict[str, Any]:
    """The body's `build`, of a build that `find` found. Two queries: its events, and its other attempts."""
    cancellation: Cancellation | None = getattr(build, "cancellation", None)
    return {
        **row_of(build),
        "namespace": build.namespace,
        "job": build.job,
        "events": _events(build),
        "error": _error(build),
        **_log(build, tail_lines),
        "cancellation": None if cancellation is None else _cancellation(build, cancellation),
        "attempts": _attempts(build, access),
        "actions": _actions(build, access),
        "observed_at": build.seen_at,
    }


def _events(build: Build) -> list[dict[str, Any]]:
    columns = ("type", "reason", "message", "source", "actor", "timestamp")
    newest = build.events.order_by("-timestamp", "-pk").values(*columns)[:MOST_EVENTS]
    return [dict(values) for values in newest][::-1]


def _error(build: Build) -> dict[str, Any] | None:
    if build.error_code is None and build.error_message is None:
        return None
    return {
        "code": build.error_code,
        "message": build.error_message,
        "category": None,
        "retryable": None,
        "container": build.error_container,
        "exit_code": build.error_exit_code,
        "evidence": None,
    }


def _log(build: Build, tail_lines: int) -> dict[str, Any]:
    log: BuildLog | None = getattr(build, "log", None)
    has_text = log is not None and bool(log.text)
    is_over = log is not None and (log.is_final or build.is_finished)
    return {
        "logs_preview": _tail(log.text, tail_lines) if log is not None else "",
        "logs_source": "none" if not has_text else "archived" if is_over else "live",
        "logs_as_of": log.as_of if log is not None else None,
        "logs_unavailable_reason": None if has_text else _why_no_log(build, log),
    }


def _tail(text: str, lines: int) -> str:
    """The last lines as one string. Not splitlines(): progress bars write carriage returns within a line."""
    if lines == 0:
        return ""
    return "\n".join(text.removesuffix("\n").rsplit("\n", lines)[-lines:])


def _why_no_log(build: Build, log: BuildLog | None) -> str:
    if log is not None and log.unavailable_reason:
        return log.unavailable_reason
    if build.status == Status.PENDING:
        return "pod_initializing"
    # Read, and the container had printed nothing; or not read yet.
    return "empty" if log is not None and log.as_of is not None else "not_read_yet"


def _cancellation(build: Build, cancellation: Cancellation) -> dict[str, Any]:
    told = None
    if getattr(build, "told_id", None) is not None:
        told = "pending" if getattr(build, "told_at", None) is None else "sent"
    return {
        "requested_at": cancellation.requested_at,
        "requested_by": cancellation.requested_by,
        "reason": cancellation.reason or None,
        "confirmed_at": cancellation.confirmed_at,
        "cleanup": {"job": cancellation.job_outcome, "pods": cancellation.pods_outcome, "event": told},
    }


def _attempts(build: Build, access: Access) -> list[dict[str, Any]]:
    attempts = Build.objects.visible_to(access).attempts_of(build)
    return [dict(values) for values in attempts.values("uid", "status", "created_at")[:MOST_ATTEMPTS]]


def _actions(build: Build, access: Access) -> dict[str, Any]:
    refusal = actions.cancel_refusal(build, access)
    return {
        "cancel": {"allowed": refusal is None, "reason": refusal},
        "retry": {"allowed": False, "reason": "Retrying is not offered yet."},
    }
