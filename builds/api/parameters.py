"""Reading the query and the body strictly: what is not understood is refused with 400, never passed over."""

from collections.abc import Collection
from typing import Any

import msgspec
from django.http import QueryDict
from rest_framework.request import Request

from builds.api.errors import ApiError, FieldError, invalid, of_status

_LONGEST_ECHO = 100
_LONGEST_NAMESPACE = 63


def refuse_unknown(query: QueryDict, allowed: Collection[str]) -> None:
    """Raises ApiError where the query has a parameter that is not allowed: it may be a mistyped filter."""
    unknown = [_echo(name) for name in query if name not in allowed]
    if not unknown:
        return
    known = ", ".join(sorted(allowed))
    hint = f"allowed are {known}" if known else "none is allowed here"
    raise ApiError(
        400,
        "unknown_parameter",
        f"Unknown parameter {unknown[0]}; {hint}.",
        details={"allowed": sorted(allowed)},
        errors=[FieldError(name, hint, "unknown_parameter") for name in unknown],
    )


def single(query: QueryDict, name: str) -> str | None:
    """The parameter's one value, None where it is absent. Raises ApiError if it is repeated."""
    values = query.getlist(name)
    if len(values) > 1:
        raise invalid(FieldError(name, "must be given once", "repeated"))
    return values[0] if values else None


def whole_number(text: str, *, least: int) -> int | None:
    """The number that plain ASCII digits spell; None for anything else, and below least."""
    if not (text.isascii() and text.isdigit()):
        return None
    # Python refuses to read numbers of thousands of digits; from a thousand million on, all are alike here.
    number = int(text) if len(text) < 10 else 10**9
    return number if number >= least else None


def namespace_of(query: QueryDict) -> str | None:
    """The namespace asked for, None for the default one."""
    namespace = single(query, "namespace")
    if namespace is None:
        return None
    if not namespace or len(namespace) > _LONGEST_NAMESPACE or "\x00" in namespace:
        raise invalid(FieldError("namespace", "must be the name of a namespace"))
    return namespace


def json_object(request: Request, allowed: Collection[str]) -> dict[str, Any]:
    """The body, {} where there is none. Raises ApiError unless it is a JSON object of allowed keys."""
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        # Django would read an empty body, and the reason in it would be lost.
        raise ApiError(411, "length_required", "A body needs a Content-Length.")
    if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        return {}
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise of_status(415)
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, RecursionError):
        raise ApiError(400, "malformed_json", "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "The body must be a JSON object.")
    unknown = [_echo(key) for key in body if key not in allowed]
    if unknown:
        hint = f"is not known; allowed are {', '.join(sorted(allowed))}"
        raise ApiError(
            400,
            "unknown_key",
            f"{unknown[0]} {hint}.",
            errors=[FieldError(key, hint, "unknown_key") for key in unknown],
        )
    return body


def _echo(name: str) -> str:
    return name if len(name) <= _LONGEST_ECHO else f"{name[:_LONGEST_ECHO]}…"
