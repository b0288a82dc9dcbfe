"""The errors that talking to a cluster can end in: one tree, told apart by what a caller can do about them;
no I/O.

Messages are one line, fit for a log, but not redacted: they may quote names and values that the cluster sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

LogWhy = Literal["pod_initializing", "image_pull", "other"]

MESSAGE_LIMIT = 500
"""Characters kept of a server's message: enough to act on, too few to flood a log."""


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of the cluster, for messages: `list jobs in namespace builds`."""

    verb: str
    resource: str
    namespace: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{name}{where}"


class ClusterError(Exception):
    """A call to the cluster did not give an answer that can be used: what was asked for is unknown, not
    absent.
    """

    def __init__(self, message: str, *, status: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ClusterUnreachable(ClusterError):
    """No answer at all: timeout, refused, reset, name not resolved, TLS failed, broken off half-way."""


class Unauthorized(ClusterError):
    """401: the credentials are not accepted (they were read again once already)."""


class Forbidden(ClusterError):
    """403: RBAC, quota or a terminating namespace; the server's words in the message tell which."""

    def __init__(self, message: str, call: Call, *, reason: str | None = None) -> None:
        super().__init__(message, status=403, reason=reason)
        self.verb = call.verb
        self.resource = call.resource
        self.namespace = call.namespace


class NotFound(ClusterError):
    """404 about an object: the API server says that the object (or its namespace) does not exist.

    A 404 about the path, from a proxy or from a server without that API, is Rejected or Malformed.
    """


class Conflict(ClusterError):
    """409 with reason Conflict: the object changed meanwhile, or a precondition does not hold."""


class AlreadyExists(ClusterError):
    """409 with reason AlreadyExists: also said while the old object of that name is still being deleted."""


class VersionExpired(ClusterError):
    """410: the version or the page token is too old; list again."""


class Throttled(ClusterError):
    """429; `retry_after_s` is what the server asked for, None if it did not say."""

    def __init__(self, message: str, *, retry_after_s: float | None, reason: str | None = None) -> None:
        super().__init__(message, status=429, reason=reason)
        self.retry_after_s = retry_after_s


class Rejected(ClusterError):
    """The request itself is wrong (400, 422 and the other 4xx): the same request will fail again."""


class LogUnavailable(ClusterError):
    """400 on a pod's log: its container is waiting to start, `why` says for what."""

    def __init__(self, message: str, *, why: LogWhy, reason: str | None = None) -> None:
        super().__init__(message, status=400, reason=reason)
        self.why = why


class ServerFault(ClusterError):
    """5xx; `retry_after_s` is what the server asked for, None if it did not say."""

    def __init__(
        self, message: str, *, status: int, retry_after_s: float | None, reason: str | None = None
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after_s = retry_after_s


class Malformed(ClusterError):
    """An answer that is not what the Kubernetes API sends: not JSON, or of other types."""


class StatusCause(msgspec.Struct, frozen=True):
    """One entry of `details.causes`."""

    message: str | None = None
    field: str | None = None


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """`details` of a Status."""

    name: str | None = None
    kind: str | None = None
    causes: tuple[StatusCause, ...] | None = None
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True):
    """The API's error body (meta/v1 Status), also the object of a watch's ERROR event."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None


def decode_status(body: bytes) -> Status:
    """The Status in an error's body; one made of the text if it is something else (429 is text/plain)."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        return Status(message=body[:MESSAGE_LIMIT].decode("utf-8", errors="replace"))


def error_from_answer(call: Call, http_status: int, headers: Mapping[str, str], body: bytes) -> ClusterError:
    """The error for an HTTP answer of 400 or more (or an unexpected 1xx to 3xx); `headers` in any case of
    letters.
    """
    status = decode_status(body)
    asked_s = _retry_after_s(headers)
    if asked_s is None and status.details is not None:
        asked_s = status.details.retry_after_seconds
    return _error(call, http_status, status, asked_s)


def error_from_status(call: Call, status: Status) -> ClusterError:
    """The error for the Status in a watch's ERROR event."""
    asked_s = status.details.retry_after_seconds if status.details is not None else None
    return _error(call, status.code or 500, status, asked_s)


def log_wait_reason(message: str) -> LogWhy:
    """Why a container has no log yet, from the kubelet's text after `is waiting to start:`.

    Texts: pkg/kubelet/kubelet_pods.go (validateContainerLogStatus) and pkg/kubelet/images.
    """
    why = message.partition("is waiting to start:")[2].strip().lower()
    if why in ("podinitializing", "containercreating"):
        return "pod_initializing"
    if "image" in why or why in ("errimagepull", "imagepullbackoff"):
        return "image_pull"
    return "other"


def _error(call: Call, code: int, status: Status, retry_after_s: float | None) -> ClusterError:
    reason = status.reason
    said = _one_line(_without_values(status)) if code == 422 else _one_line(status.message or "")
    text = f"cannot {call}: {said or 'no reason given'} ({code})"
    if code == 429:
        return Throttled(text, retry_after_s=retry_after_s, reason=reason)
    if code >= 500:
        return ServerFault(text, status=code, retry_after_s=retry_after_s, reason=reason)
    if code == 403:
        return Forbidden(text, call, reason=reason)
    if code == 400 and call.resource == "pods/log" and "is waiting to start" in said:
        return LogUnavailable(text, why=log_wait_reason(said), reason=reason)
    kind: type[ClusterError]
    if code == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
    elif code == 404:
        kind = _kind_of_404(status)
    elif 400 <= code < 500:
        kind = {401: Unauthorized, 410: VersionExpired}.get(code, Rejected)
    else:
        kind = Malformed
    return kind(text, status=code, reason=reason)


def _kind_of_404(status: Status) -> type[ClusterError]:
    if status.reason != "NotFound":
        return Malformed
    return NotFound if status.details is not None and status.details.kind else Rejected


def _without_values(status: Status) -> str:
    """What a 422 says, field by field, without the values that it repeats.

    `spec.template: Invalid value: {the whole pod template, with literal env values}: field is immutable`:
    only the field and the words after the last colon are kept. Without causes nothing is kept but the reason.
    """
    causes = status.details.causes if status.details is not None else None
    if not causes:
        return status.reason or "Invalid"
    return "; ".join(f"{cause.field or '?'}: {_rule(cause.message or '')}" for cause in causes[:5])


def _rule(message: str) -> str:
    if message.startswith(("Invalid value:", "Unsupported value:", "Duplicate value:", "Not found:")):
        head, _, value_and_rule = message.partition(": ")
        rule = value_and_rule.rpartition(": ")[2]
        return rule if rule != value_and_rule else head
    return message


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header in seconds; the API server sends whole seconds, never a date."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(int(value)))
            except ValueError:
                return None
    return None
