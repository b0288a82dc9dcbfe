"""Lists: resourceVersion rules, selectors and consistent pages over the store; it does no HTTP."""

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from devcluster import errors, requests, selectors
from devcluster.errors import ApiError, Cause
from devcluster.objects import Obj, name_of, namespace_of
from devcluster.requests import Target
from devcluster.store import Store

# How long a list waits for a version that does not exist yet.
FUTURE_WAIT_S = 3.0
CONTINUE_FORM = "meta.k8s.io/v1"
CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list."
)


@dataclass(frozen=True)
class Page:
    items: list[Obj]
    metadata: Obj


@dataclass(frozen=True)
class Token:
    """Where a list goes on: the version of its first page (-1: what is there now), the last name given."""

    version: int
    after: str

    def encode(self) -> str:
        # The second form, without the slash, is that of tokens for an inconsistent rest.
        start = f"{self.after}\0" if self.version < 0 else f"/{self.after}\0"
        body = json.dumps({"v": CONTINUE_FORM, "rv": self.version, "start": start}, separators=(",", ":"))
        return urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_token(text: str) -> Token:
    """Raises 400."""
    try:
        body = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return Token(int(body["rv"]), str(body["start"]).strip("/\0"))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.bad_request(f"invalid continue token: continue key is not valid: {error}") from error


def parse_version(text: str) -> int:
    """Raises 400."""
    if text.isdigit() and len(text) < 20:
        return int(text)
    message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise errors.bad_request(f"invalid resource version: {message}")


async def wait_for(store: Store, version: int) -> None:
    """Raises 504 when the version has not come after three seconds."""
    if version <= store.version:
        return
    await asyncio.sleep(FUTURE_WAIT_S)
    if version > store.version:
        raise errors.too_large(version, store.version)


def check_match(query: Mapping[str, str]) -> None:
    """Raises the 422 of a resourceVersionMatch that does not fit."""
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if not match:
        return
    if not version:
        message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match == "Exact" and version == "0":
        message = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    elif match not in ("Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
    else:
        return
    reason = "FieldValueNotSupported" if message.startswith("Unsupported") else "FieldValueForbidden"
    raise errors.invalid_options("ListOptions", Cause(reason, message, "resourceVersionMatch"))


async def page(store: Store, target: Target, query: Mapping[str, str]) -> Page:
    """One list, or one page of it."""
    matches = selectors.matcher(
        target.resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
    )
    limit = requests.integer(query, "limit") or 0
    check_match(query)
    token = decode_token(query["continue"]) if query.get("continue") else None
    version_text = query.get("resourceVersion", "")
    if token is not None and version_text not in ("", "0"):
        raise errors.bad_request("specifying resource version is not allowed when using continue")
    version = parse_version(version_text) if version_text else 0
    await wait_for(store, version)
    is_exact = query.get("resourceVersionMatch") == "Exact"
    at = token.version if token else version if is_exact else -1
    found = _items_at(store, target, at, token)
    shown = store.version if at < 0 else at
    if matches is not None:
        found = [obj for obj in found if matches(obj)]
    if token is not None:
        found = [obj for obj in found if _sort_key(target, obj) > token.after]
    metadata: Obj = {"resourceVersion": str(shown)}
    if 0 < limit < len(found):
        rest = len(found) - limit
        found = found[:limit]
        metadata["continue"] = Token(shown, _sort_key(target, found[-1])).encode()
        if matches is None:
            metadata["remainingItemCount"] = rest
    return Page(found, metadata)


def _items_at(store: Store, target: Target, version: int, token: Token | None) -> list[Obj]:
    plural = target.resource.plural
    if version < 0:
        return store.items(plural, target.namespace)
    found = store.items_at(plural, target.namespace, version)
    if found is not None:
        return found
    if token is None:
        raise ApiError(410, "Expired", "The resourceVersion for the provided list is too old.")
    rest = Token(-1, token.after).encode()
    raise ApiError(410, "Expired", CONTINUE_EXPIRED, continue_token=rest)


def _sort_key(target: Target, obj: Obj) -> str:
    if target.namespace or not target.resource.is_namespaced:
        return name_of(obj)
    return f"{namespace_of(obj)}/{name_of(obj)}"
