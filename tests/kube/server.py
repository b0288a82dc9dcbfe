"""A plain HTTP server in a thread that says what a test tells it to, faults included; knows nothing of
Kubernetes.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `at` is of time.monotonic()."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Answer:
    """`chunks` are sent as they come, `body` at once; `breaks_off` leaves out the end that HTTP asks for."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    breaks_off: bool = False
    delay_s: float = 0.0


class Server:
    """Serves until the `with` block ends; every connection that is still open is closed then."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._http = _Http(("127.0.0.1", 0), self)
        self._scheme = "http"
        if tls is not None:
            self._scheme = "https"
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, request: Request) -> Answer:
        """What to say to a request; called in the thread of its connection."""
        raise NotImplementedError

    def count(self, path_ends: str, **query: str) -> int:
        """How many requests came whose path ends like this and whose query has all of these."""
        return sum(
            one.path.endswith(path_ends) and query.items() <= one.query.items() for one in self.requests
        )

    def kubeconfig(
        self, folder: Path, *, user: dict[str, Any] | None = None, authority: Path | None = None
    ) -> Path:
        """A kubeconfig for this server, written into `folder`."""
        path = folder / "kubeconfig.yaml"
        named = {"cluster": "test", "user": "test"}
        cluster = {"server": self.url}
        if authority is not None:
            cluster["certificate-authority"] = str(authority)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": named}],
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user or {"token": "a-token"}}],
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


class ScriptedServer(Server):
    """Answers each path from its own list: an answer is used once, the last one of a list again and again."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._script: list[tuple[str, str, dict[str, str], list[Answer | Callable[[Request], Answer]]]] = []

    def on(
        self, method: str, path_ends: str, *answers: Answer | Callable[[Request], Answer], **query: str
    ) -> None:
        """What to say where the path ends like this and the query has all of these; later words go first."""
        self._script.insert(0, (method, path_ends, query, list(answers)))

    def answer(self, request: Request) -> Answer:
        for method, path_ends, query, answers in self._script:
            matches = request.method == method and request.path.endswith(path_ends)
            if matches and query.items() <= request.query.items():
                found = answers.pop(0) if len(answers) > 1 else answers[0]
                return found if isinstance(found, Answer) else found(request)
        return Answer(501, f"no answer for {request.method} {request.path}".encode())


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        super().__init__(address, _Handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Request(
            method=self.command,
            path=unquote(split.path),
            query=dict(parse_qsl(split.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            at=time.monotonic(),
        )
        self.server.owner.requests.append(request)
        answer = self.server.owner.answer(request)
        if self.server.owner.closing.wait(answer.delay_s):
            self.close_connection = True
            return
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunks is None:
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in answer.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            if not answer.breaks_off:
                self.wfile.write(b"0\r\n\r\n")
        if answer.breaks_off:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - what http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Tests look at `Server.requests`."""


def held_open(server: Server, *chunks: bytes) -> Iterator[bytes]:
    """These chunks, then silence until the server closes."""
    yield from chunks
    server.closing.wait(60)
