"""POST /builds/{id}/cancel: the body, the key of a repeated request, and which answer each outcome gets."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from builds import actions
from builds.actions import CancelAnswer, CancelOutcome
from builds.api.answers import json_answer, stamp
from builds.api.authentication import access_of
from builds.api.detail import find
from builds.api.errors import ApiError, FieldError, invalid
from builds.api.parameters import json_object
from builds.models import Build, Cancellation, IdempotentRequest
from builds.models.request import KEY_LIFETIME
from builds.states import Status

LONGEST_REASON = 500
LONGEST_KEY = 255

_MESSAGES = {
    Status.CANCELLED: "Build cancelled successfully",
    Status.CANCELLING: "Build is being cancelled",
    Status.SUCCEEDED: "Build succeeded before it could be cancelled",
    Status.FAILED: "Build failed before it could be cancelled",
}
_REFUSALS = {
    Status.CANCELLED: ("build_already_cancelled", "Build has already been cancelled"),
    Status.SUCCEEDED: ("build_already_finished", "Build has already succeeded"),
    Status.FAILED: ("build_already_finished", "Build has already failed"),
}


def cancel(request: Request, key: str, namespace: str | None) -> HttpResponse:
    """Wish it, wait for the cluster as long as the budget lasts, and say how it stands."""
    access = access_of(request)
    reason = _reason(request)
    request_key = _idempotency_key(request)
    build = find(key, namespace, access)
    was_finished = build.is_finished
    remembered = _remember(request, request_key) if request_key else None
    answer = actions.cancel(build, by=access, reason=reason, source="api")
    wish = Cancellation.objects.filter(build=answer.build).first()
    if not answer.build.is_finished or _is_cancelled_by_this_call(answer):
        return _told(request, answer, wish)
    found_finished = answer.outcome is CancelOutcome.ALREADY_FINISHED
    is_repeated = request_key is not None and remembered is None
    # Of two at once with one key, the one that was late may be the one whose key was new.
    was_overtaken = request_key is not None and found_finished and not was_finished
    if wish is not None and (is_repeated or (was_overtaken and wish.requested_by == access.actor)):
        return _told(request, answer, wish)
    if remembered is not None and found_finished:
        # This request has cancelled nothing, so a repetition must get its 409 too.
        remembered.delete()
    raise _refusal(answer.build)


def _is_cancelled_by_this_call(answer: CancelAnswer) -> bool:
    return answer.outcome is CancelOutcome.STARTED and answer.build.status == Status.CANCELLED


def _told(request: Request, answer: CancelAnswer, wish: Cancellation | None) -> HttpResponse:
    """Whoever comes second is told of the wish that stands: whose it is, why, and in which state."""
    status = Status(answer.build.status)
    is_pending = status == Status.CANCELLING
    body: dict[str, Any] = {
        "build_id": answer.build.name,
        "status": status,
        "message": _MESSAGES[status],
        "success": True,
    }
    trailer = stamp(request)
    body |= {
        "timestamp": trailer["timestamp"],
        "duration": trailer["duration"],
        "previous_status": wish.previous_status if wish else answer.previous_status,
        "cancelled_by": wish.requested_by if wish else None,
        "reason": (wish.reason or None) if wish else None,
        "correlation_id": trailer["correlation_id"],
    }
    return json_answer(body, 202 if is_pending else 200, {"Retry-After": "1"} if is_pending else None)


def _refusal(build: Build) -> ApiError:
    code, message = _REFUSALS[Status(build.status)]
    details = {"build_id": build.name, "build_status": build.status, "completed_at": build.completed_at}
    return ApiError(409, code, message, details=details)


def _reason(request: Request) -> str:
    reason = json_object(request, ("reason",)).get("reason")
    if reason is None:
        return ""
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or "\x00" in reason:
        raise invalid(FieldError("reason", f"must be text of at most {LONGEST_REASON} characters"))
    return reason.strip()


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise invalid(FieldError("Idempotency-Key", f"must be 1 to {LONGEST_KEY} printable ASCII characters"))
    return key


def _remember(request: Request, key: str) -> IdempotentRequest | None:
    """The row of a key that is new; None where this caller has used it on this path before.

    Stored before anything is done, so that of two requests at the same time one is the first.
    """
    now = datetime.now(UTC)
    same = {"caller": access_of(request).key, "method": "POST", "path": request.path, "key": key}
    # A sweeper forgets the others.
    IdempotentRequest.objects.filter(**same, created_at__lt=now - KEY_LIFETIME).delete()
    row, is_new = IdempotentRequest.objects.get_or_create(**same, defaults={"created_at": now})
    return row if is_new else None
