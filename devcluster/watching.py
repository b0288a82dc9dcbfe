"""Watches: a start point, the changes after it, bookmarks and the end, as lines of JSON; it does no HTTP."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import msgspec

from devcluster import errors, requests, selectors
from devcluster.errors import ApiError, Cause
from devcluster.objects import Obj, namespace_of, with_metadata
from devcluster.requests import Target
from devcluster.resources import Resource
from devcluster.store import Change, Store

BOOKMARK_EVERY_S = 60.0
LAST_BOOKMARK_S = 2.0
INITIAL_END = "k8s.io/initial-events-end"

# From the type of an event and its object to the line that the client sees.
Encoder = Callable[[str, Obj], bytes]


@dataclass(frozen=True)
class Options:
    version: str
    timeout_s: float
    wants_bookmarks: bool
    wants_initial: bool
    matches: Callable[[Obj], bool] | None


def options(resource: Resource, query: Mapping[str, str]) -> Options:
    """Raises the refusals that come instead of a stream."""
    version = query.get("resourceVersion", "")
    wants_initial = requests.flag(query, "sendInitialEvents")
    match = query.get("resourceVersionMatch", "")
    if wants_initial and match != "NotOlderThan":
        message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        cause = Cause("FieldValueForbidden", message, "resourceVersionMatch")
        raise errors.invalid_options("ListOptions", cause)
    if version and not version.isdigit():
        detail = f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
        # A list answers 400 to the same text; a watch answers 500 without a reason.
        raise ApiError(500, None, f"resourceVersion: {detail}")
    timeout_s = requests.integer(query, "timeoutSeconds") or 1800 + secrets.randbelow(1800)
    matches = selectors.matcher(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    wants_bookmarks = requests.flag(query, "allowWatchBookmarks")
    return Options(version, float(timeout_s), wants_bookmarks, wants_initial, matches)


def plain(type_: str, obj: Obj) -> bytes:
    return msgspec.json.encode({"type": type_, "object": obj}) + b"\n"


class Watch:
    """One open watch. It hears of changes from its creation on; close() it."""

    def __init__(
        self,
        store: Store,
        target: Target,
        chosen: Options,
        encoder: Encoder | None = None,
        bookmark_every_s: float = BOOKMARK_EVERY_S,
    ) -> None:
        self._store = store
        self._target = target
        self._options = chosen
        self._encoder = encoder
        self._bookmark_every_s = bookmark_every_s
        self._changes: deque[Change] = deque()
        self._woken = asyncio.Event()
        self._initial: list[Obj] = []
        self._refusal: ApiError | None = None
        self._silent_until = 0
        plural = target.resource.plural
        version = int(chosen.version or 0)
        if version == 0 or chosen.wants_initial:
            self._initial = store.items(plural, target.namespace)
        elif version <= store.version:
            try:
                self._changes.extend(store.changes_since(plural, version))
            except ApiError as refusal:
                self._refusal = refusal
        else:
            # A version from the future: silence until the counter has passed it.
            self._silent_until = version
        store.subscribe(self._on_change)

    def close(self) -> None:
        self._store.unsubscribe(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.resource == self._target.resource.plural:
            self._changes.append(change)
            self._woken.set()

    async def lines(self, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Ends at the timeout, after an ERROR, or when the server stops."""
        if self._refusal is not None:
            yield plain("ERROR", self._refusal.status())
            return
        for obj in self._initial:
            if self._options.matches is None or self._options.matches(obj):
                yield self._encode("ADDED", obj)
        if self._options.wants_initial and self._options.wants_bookmarks:
            yield self._bookmark(is_initial_end=True)
        loop = asyncio.get_running_loop()
        end_at = loop.time() + self._options.timeout_s
        bookmark_at = min(loop.time() + self._bookmark_every_s, end_at - LAST_BOOKMARK_S)
        while not stopping.is_set():
            while self._changes:
                change = self._changes.popleft()
                line = self._line(change)
                if line is not None:
                    yield line
            now = loop.time()
            if now >= end_at:
                return
            if self._options.wants_bookmarks and now >= bookmark_at:
                yield self._bookmark()
                bookmark_at = min(now + self._bookmark_every_s, max(end_at - LAST_BOOKMARK_S, now + 1.0))
            self._woken.clear()
            until = min(end_at, bookmark_at) if self._options.wants_bookmarks else end_at
            await self._sleep(until - now, stopping)

    async def _sleep(self, delay_s: float, stopping: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._woken, stopping)]
        try:
            await asyncio.wait(waits, timeout=max(0.0, delay_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _line(self, change: Change) -> bytes | None:
        """The change as this watch sees it: what enters the selection is added, what leaves it deleted."""
        namespace = self._target.namespace
        if namespace and namespace_of(change.obj) != namespace:
            return None
        if change.version <= self._silent_until:
            return None
        matches = self._options.matches
        if matches is None:
            return self._encode(change.type, change.obj, change)
        was_in = change.before is not None and matches(change.before)
        is_in = change.type != "DELETED" and matches(change.obj)
        if was_in and is_in:
            return self._encode(change.type, change.obj, change)
        if is_in:
            return self._encode("ADDED", change.obj)
        if was_in and change.before is not None:
            if change.type == "DELETED":
                return self._encode("DELETED", change.obj, change)
            left = with_metadata(change.before, resourceVersion=str(change.version))
            return self._encode("DELETED", left)
        return None

    def _encode(self, type_: str, obj: Obj, change: Change | None = None) -> bytes:
        if self._encoder is not None:
            return self._encoder(type_, obj)
        return change.encoded if change is not None else plain(type_, obj)

    def _bookmark(self, is_initial_end: bool = False) -> bytes:
        """Empty while the version that was asked for is in the future."""
        if self._store.version < self._silent_until:
            return b""
        metadata: Obj = {"resourceVersion": str(self._store.version)}
        if is_initial_end:
            metadata["annotations"] = {INITIAL_END: "true"}
        resource = self._target.resource
        skeleton: Obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.plural == "jobs":
            skeleton["spec"] = {"template": {"metadata": {}, "spec": {"containers": None}}}
            skeleton["status"] = {}
        elif resource.plural == "pods":
            skeleton |= {"spec": {"containers": None}, "status": {}}
        return self._encode("BOOKMARK", skeleton)
