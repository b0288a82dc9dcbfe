"""Trouble on demand: the faults that are switched on, which requests they meet, and what happens to those;
keeps no objects.

`/standin/faults` is no path of the Kubernetes API: see docs/devcluster.md.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from aiohttp import web

from devcluster import clock, errors
from devcluster.authorization import Action, User
from devcluster.errors import ApiError
from devcluster.objects import Obj

PATH = "/standin/faults"
# What of a line comes through before it is cut.
CUT_AFTER_BYTES = 60
INBOX_LIMIT = 100

Kind = Literal[
    "answer", "delay", "hang", "hide", "error", "cut", "silence", "close", "disorder", "revoke", "skew"
]
# These happen to open streams, the ones that were open before included.
IN_STREAMS = ("error", "cut", "silence", "close", "disorder")
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is switched on. Empty `verb`, `resource` and `namespace` mean any; `page` the first of a list, or
    the others; `times` how many requests or streams are met, `for_s` for how long: without either until it is
    taken away.
    """

    kind: Kind
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    page: Literal["", "first", "next"] = ""
    times: int | None = None
    for_s: float | None = None
    code: int = 500
    message: str = ""
    retry_after_s: int | None = None
    delay_s: float = 0.0
    user: Literal["admin", "limited"] = "admin"


@dataclass
class Switched:
    """A fault that is on, and what became of it."""

    id: int
    fault: Fault
    ends_at: float | None
    hits: int = 0
    token: str = ""

    def is_on(self) -> bool:
        is_worn_out = self.fault.times is not None and self.hits >= self.fault.times
        return not is_worn_out and (self.ends_at is None or clock.now() < self.ends_at)

    def meets(self, action: Action, is_next_page: bool) -> bool:
        wanted = self.fault
        page = "next" if is_next_page else "first"
        return (
            self.is_on()
            and wanted.verb in ("", action.verb)
            and wanted.resource in ("", action.resource.plural)
            and wanted.namespace in ("", action.namespace)
            and wanted.page in ("", page)
        )

    def as_json(self) -> Obj:
        shown = {"id": self.id, "hits": self.hits, **msgspec.to_builtins(self.fault)}
        return {**shown, "token": self.token} if self.token else shown


@dataclass
class Faults:
    """All that are on. Switching one on wakes the streams that are open."""

    _all: dict[int, Switched] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _switched: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced, at each switch."""

    async def control(self, request: web.Request, user: User) -> web.Response:
        """GET lists, POST switches on, DELETE switches off: all, or the one whose id ends the path."""
        if not user.is_admin:
            message = f'forbidden: User "{user.name}" cannot {request.method.lower()} path "{request.path}"'
            raise ApiError(403, "Forbidden", message, {})
        which = request.path.removeprefix(PATH).strip("/")
        if request.method == "GET":
            return _json([one.as_json() for one in self._all.values()])
        if request.method == "POST" and not which:
            return _json(self._switch_on(await request.read()).as_json(), 201)
        if request.method == "DELETE":
            return _json([one.as_json() for one in self._switch_off(which)])
        raise errors.method_not_allowed()

    def _switch_on(self, raw: bytes) -> Switched:
        try:
            fault = msgspec.json.decode(raw, type=Fault)
        except msgspec.MsgspecError as error:
            raise errors.bad_request(f"this is no fault: {error}") from error
        ends_at = None if fault.for_s is None else clock.now() + fault.for_s
        one = Switched(next(self._ids), fault, ends_at)
        if fault.kind == "revoke":
            one.token = secrets.token_urlsafe(32)
        self._all[one.id] = one
        self._set_clock()
        woken, self._switched = self._switched, asyncio.Event()
        woken.set()
        return one

    def _switch_off(self, which: str) -> list[Switched]:
        found = [one for one in self._all.values() if which in ("", str(one.id))]
        if which and not found:
            raise ApiError(404, "NotFound", f"there is no fault {which}", {})
        for one in found:
            del self._all[one.id]
        self._set_clock()
        return found

    def _set_clock(self) -> None:
        clock.set_ahead(sum(one.fault.delay_s for one in self._all.values() if one.fault.kind == "skew"))

    def tokens(self, issued: dict[str, str]) -> dict[str, str]:
        """The tokens that are accepted: of a user whose token was revoked, the new one alone."""
        revoked = {one.fault.user: one.token for one in self._all.values() if one.token and one.is_on()}
        return issued | revoked

    def _find(self, action: Action, *kinds: str, is_next_page: bool = False) -> Switched | None:
        for one in self._all.values():
            if one.fault.kind in kinds and one.meets(action, is_next_page):
                return one
        return None

    async def before(self, request: web.Request, action: Action, user: User) -> web.Response | None:
        """What comes before, or instead of, the answer to a request. Raises ApiError."""
        found = self._find(action, "answer", "delay", "hang", is_next_page="continue" in request.query)
        if found is None:
            return None
        found.hits += 1
        if found.fault.kind == "hang":
            await asyncio.Event().wait()
        await asyncio.sleep(found.fault.delay_s)
        return _answer(found.fault, action, user) if found.fault.kind == "answer" else None

    def hides(self, action: Action) -> bool:
        """Whether the list is to be empty, as with a wrong selector."""
        found = self._find(action, "hide")
        if found is not None:
            found.hits += 1
        return found is not None

    async def spoiled(
        self, request: web.Request, action: Action, lines: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """A stream's lines, until a fault meets it."""
        # Waiting for a line may be given up, which the generator of the lines would not survive.
        inbox: Inbox = asyncio.Queue(INBOX_LIMIT)
        pump = asyncio.create_task(_pump(lines, inbox))
        try:
            while True:
                found = self._find(action, *IN_STREAMS)
                if found is None:
                    line = await self._line_or_switch(inbox)
                    if line is None:
                        return
                    yield line
                    continue
                found.hits += 1
                async for spoiled in _play(found.fault, request, inbox):
                    yield spoiled
                if found.fault.kind != "disorder":
                    return
        finally:
            pump.cancel()

    async def _line_or_switch(self, inbox: "Inbox") -> bytes | None:
        """The next line; empty if a fault was switched on before it came, None at the end."""
        if not inbox.empty():
            return inbox.get_nowait()
        line = asyncio.ensure_future(inbox.get())
        switch = asyncio.ensure_future(self._switched.wait())
        try:
            await asyncio.wait((line, switch), return_when=asyncio.FIRST_COMPLETED)
            return line.result() if line.done() else b""
        finally:
            line.cancel()
            switch.cancel()


Inbox = asyncio.Queue[bytes | None]


async def _pump(lines: AsyncIterator[bytes], inbox: Inbox) -> None:
    async for line in lines:
        await inbox.put(line)
    await inbox.put(None)


async def _play(fault: Fault, request: web.Request, inbox: Inbox) -> AsyncIterator[bytes]:
    if fault.kind == "error":
        yield msgspec.json.encode({"type": "ERROR", "object": _refusal(fault).status()}) + b"\n"
    elif fault.kind == "silence":
        # Until the client goes: handlers are cancelled then.
        await asyncio.Event().wait()
    elif fault.kind == "cut":
        yield (await inbox.get() or b"")[:CUT_AFTER_BYTES]
        if request.transport is not None:
            request.transport.close()
    elif fault.kind == "disorder":
        for line in await _gathered(inbox, fault.delay_s):
            yield line


async def _gathered(inbox: Inbox, late_s: float) -> list[bytes]:
    """What comes in that time after a line: backwards, and twice."""
    held = [await inbox.get()]
    await asyncio.sleep(late_s)
    while not inbox.empty():
        held.append(inbox.get_nowait())
    if held[-1] is None:
        inbox.put_nowait(None)
    return [line for line in reversed(held) if line is not None] * 2


def _refusal(fault: Fault) -> ApiError:
    words = fault.message or ("too old resource version: 1 (1033)" if fault.code == 410 else "played fault")
    return ApiError(fault.code, REASONS.get(fault.code), words)


def _answer(fault: Fault, action: Action, user: User) -> web.Response:
    """As the API server words it: 429 in plain text, everything else a Status. Raises ApiError."""
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    if fault.code == 429:
        text = fault.message or "Too many requests, please try again later.\n"
        return web.Response(text=text, status=429, headers={"Retry-After": "1"} | headers)
    if fault.code == 401:
        raise errors.unauthorized()
    if fault.code == 403 and not fault.message:
        where = (action.resource, action.subresource, action.name, action.namespace, action.verb)
        raise errors.forbidden(*where, user.name)
    refusal = _refusal(fault)
    refusal.headers.update(headers)
    raise refusal


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
