"""The HTTP side: takes a request apart, asks who may, calls the verb, answers; keeps no objects."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import yaml
from aiohttp import web
from aiohttp.typedefs import Middleware

from devcluster import (
    authorization,
    discovery,
    errors,
    faults,
    listing,
    logs,
    requests,
    tables,
    verbs,
    watching,
)
from devcluster.authorization import Action, User
from devcluster.cluster import Cluster
from devcluster.credentials import Credentials
from devcluster.errors import ApiError
from devcluster.faults import Faults
from devcluster.objects import Obj
from devcluster.requests import Target
from devcluster.resources import STORED, Resource

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GZIP_THRESHOLD_BYTES = 128 * 1024
ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove "
    "them or set propagationPolicy=Orphan to suppress this warning"
)


class Server:
    def __init__(
        self,
        cluster: Cluster,
        credentials: Credentials,
        bookmark_every_s: float = watching.BOOKMARK_EVERY_S,
    ) -> None:
        self._cluster = cluster
        self._credentials = credentials
        self._bookmark_every_s = bookmark_every_s
        self._faults = Faults()
        self.stopping = asyncio.Event()

    def application(self, middlewares: Sequence[Middleware] = ()) -> web.Application:
        """`middlewares` stand before everything else: the place to play a faulty API server."""
        application = web.Application(
            middlewares=[*middlewares, web.middleware(_errors_as_status)],
            client_max_size=2 * requests.BODY_LIMIT_BYTES,
        )
        application.on_response_prepare.append(_sign)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        if request.path.startswith(faults.PATH):
            return await self._faults.control(request, user)
        if request.path in discovery.HEALTH_PATHS:
            return web.Response(text="ok", headers={"X-Content-Type-Options": "nosniff"})
        document = discovery.document(request.path)
        if document is not None:
            if user.name == authorization.ANONYMOUS and request.path != "/version":
                message = f'forbidden: User "{user.name}" cannot get path "{request.path}"'
                raise ApiError(403, "Forbidden", message, {})
            return _json(document)
        target = requests.target(request.path)
        verb = _verb(request, target)
        action = Action(verb, target.resource, target.subresource, target.namespace, target.name)
        instead = await self._faults.before(request, action, user)
        if instead is not None:
            return instead
        authorization.check(user, action)
        if target.resource.plural not in STORED:
            raise errors.unknown_path()
        if verb == "watch":
            return await self._watch(request, target, action)
        if target.subresource == "log":
            return await self._log(request, target)
        if verb in ("get", "list"):
            return await self._read(request, target, action)
        return await self._change(request, target, verb)

    def _user(self, request: web.Request) -> User:
        subject = ""
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        for part in (certificate or {}).get("subject", ()):
            subject = dict(part).get("commonName", subject)
        tokens = self._credentials.tokens
        if not request.path.startswith(faults.PATH):
            tokens = self._faults.tokens(tokens)
        return authorization.authenticate(request.headers.get("Authorization", ""), subject, tokens)

    async def _read(self, request: web.Request, target: Target, action: Action) -> web.StreamResponse:
        _check_accept(request)
        if target.name:
            version = request.query.get("resourceVersion", "")
            await listing.wait_for(self._cluster.store, listing.parse_version(version) if version else 0)
            obj = verbs.existing(self._cluster.store, target)
            if tables.is_wanted(_accepted(request)):
                metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
                return _answer(request, tables.table(target.resource, [obj], metadata))
            return _answer(request, obj)
        page = await listing.page(self._cluster.store, target, request.query)
        if self._faults.hides(action):
            page = listing.Page([], {"resourceVersion": page.metadata["resourceVersion"]})
        if tables.is_wanted(_accepted(request)):
            return _answer(request, tables.table(target.resource, page.items, page.metadata))
        items = [
            {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
            for obj in page.items
        ]
        resource = target.resource
        return _answer(
            request,
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": page.metadata,
                "items": items,
            },
        )

    async def _watch(self, request: web.Request, target: Target, action: Action) -> web.StreamResponse:
        _check_accept(request)
        chosen = watching.options(target.resource, request.query)
        encoder = _table_rows(target.resource) if tables.is_wanted(_accepted(request)) else None
        watch = watching.Watch(self._cluster.store, target, chosen, encoder, self._bookmark_every_s)
        try:
            lines = self._faults.spoiled(request, action, watch.lines(self.stopping))
            return await _stream(request, "application/json", lines)
        finally:
            watch.close()

    async def _log(self, request: web.Request, target: Target) -> web.StreamResponse:
        chosen = logs.options(target.name, request.query)
        pod = verbs.existing(self._cluster.store, target)
        found = logs.source(pod, self._cluster.kubelet, chosen)
        if found is None:
            return web.Response(status=204)
        chunks = logs.chunks(found, self._cluster.kubelet, chosen, self.stopping)
        return await _stream(request, "text/plain", chunks)

    async def _change(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        raw = await request.read()
        content_type = request.headers.get("Content-Type", "")
        if verb in ("delete", "deletecollection"):
            return self._delete(request, target, raw, content_type)
        if verb == "create":
            body = requests.decode(raw, content_type, target.resource.kind)
            answer = verbs.create(self._cluster.store, target, body, request.query)
            return _answer(request, answer.body, 201, answer.warnings)
        if verb == "patch":
            media_type, patch = requests.decode_patch(raw, content_type)
            answer = verbs.patch(self._cluster.store, target, media_type, patch, request.query)
        else:
            body = requests.decode(raw, content_type, target.resource.kind)
            answer = verbs.replace(self._cluster.store, target, body, request.query)
        return _answer(request, answer.body, 200, answer.warnings)

    def _delete(
        self, request: web.Request, target: Target, raw: bytes, content_type: str
    ) -> web.StreamResponse:
        options = requests.delete_options(request.query, raw, content_type)
        warnings = []
        if target.resource.plural == "jobs" and options.propagation is None:
            warnings.append(ORPHAN_WARNING)
        try:
            if target.name:
                body = verbs.delete(self._cluster, target, options)
            else:
                body = verbs.delete_collection(self._cluster, target, options, request.query)
        except ApiError as error:
            return _failure(error, warnings)
        return _answer(request, body, 200, warnings)


def _verb(request: web.Request, target: Target) -> str:
    """The API verb of a request; raises 405."""
    method = request.method
    if method in ("GET", "HEAD"):
        if target.name and not target.is_watch:
            return "get"
        is_watch = target.is_watch or requests.flag(request.query, "watch")
        return "watch" if is_watch else "list"
    named = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    unnamed = {"POST": "create", "DELETE": "deletecollection"}
    verb = (named if target.name else unnamed).get(method)
    if verb is None or target.subresource == "log" or verb not in target.resource.verbs:
        raise errors.method_not_allowed()
    if verb == "create" and target.resource.is_namespaced and not target.namespace:
        raise errors.method_not_allowed()
    return verb


def _table_rows(resource: Resource) -> watching.Encoder:
    """Events whose object is a Table of one row; the columns come with the first only."""
    is_first = True

    def encode(type_: str, obj: Obj) -> bytes:
        nonlocal is_first
        if type_ not in ("ADDED", "MODIFIED", "DELETED"):
            return watching.plain(type_, obj)
        version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        row = tables.table(resource, [obj], version, with_columns=is_first)
        is_first = False
        return watching.plain(type_, row)

    return encode


def _accepted(request: web.Request) -> list[str]:
    accept = request.headers.get("Accept", "") or "*/*"
    return [part.strip() for part in accept.split(",")]


def _check_accept(request: web.Request) -> None:
    """Raises 406 when the client takes neither JSON nor YAML."""
    known = ("*/*", "application/*", "application/json", "application/yaml")
    if not any(part.partition(";")[0] in known for part in _accepted(request)):
        message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml"
        raise ApiError(406, "NotAcceptable", message, {})


def _answer(
    request: web.Request, body: Obj, status: int = 200, warnings: list[str] | None = None
) -> web.Response:
    if _accepted(request)[0].partition(";")[0] == "application/yaml":
        text = yaml.safe_dump(body, sort_keys=False)
        return _warned(
            web.Response(text=text, status=status, content_type="application/yaml"), warnings or []
        )
    response = _json(body, status)
    raw = response.body
    takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
    if takes_gzip and isinstance(raw, bytes) and len(raw) > GZIP_THRESHOLD_BYTES:
        response.body = gzip.compress(raw, 1)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return _warned(response, warnings or [])


def _warned(response: web.Response, warnings: list[str]) -> web.Response:
    for warning in warnings:
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")
    return response


def _json(body: Obj, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body) + b"\n", status=status, headers={"Content-Type": "application/json"}
    )


def _failure(error: ApiError, warnings: list[str] | None = None) -> web.Response:
    response = _warned(_json(error.status(), error.code), warnings or [])
    response.headers.update(error.headers)
    return response


async def _stream(
    request: web.Request, content_type: str, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in chunks:
        if chunk:
            await response.write(chunk)
    await response.write_eof()
    return response


async def _errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _failure(error)
    except web.HTTPRequestEntityTooLarge:
        message = f"Request entity too large: limit is {requests.BODY_LIMIT_BYTES}"
        return _failure(ApiError(413, "RequestEntityTooLarge", message))


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """Every answer says what this is."""
    response.headers["Server"] = discovery.NOTICE
    response.headers["Cache-Control"] = "no-cache, private"
