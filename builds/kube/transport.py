"""HTTP to the API server: one request, its timeouts and credentials, its failures as our errors; knows no
resource.

It retries nothing but a 401, once, with credentials read anew: what to do about a failure is the caller's
decision.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3 import exceptions

from builds.kube.errors import Call, ClusterUnreachable, Malformed, error_from_answer

ERROR_BODY_LIMIT = 256 * 1024
CHUNK_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Session:
    """Where the server is and how to be let in; `authorization` may read a file or run a plugin."""

    pool: urllib3.PoolManager
    host: str
    authorization: Callable[[], str | None]


class Transport:
    """Safe to share between threads, not across a fork. `load` makes a session, and is called again after a
    401.
    """

    def __init__(
        self, load: Callable[[], Session], *, connect_timeout_s: float, read_timeout_s: float
    ) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._session = load()
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s

    @property
    def host(self) -> str:
        return self._session.host

    def close(self) -> None:
        self._session.pool.clear()

    def read(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        limit_bytes: int,
        body: dict[str, Any] | None = None,
        read_timeout_s: float | None = None,
    ) -> bytes:
        """The whole answer; Malformed if it is longer than `limit_bytes`.

        The read timeout counts from byte to byte; three times as long may the whole body take.
        """
        response = self.open(call, method, path, query, body=body, read_timeout_s=read_timeout_s, gzip=True)
        parts, size = [], 0
        for part in self.chunks(call, response, read_timeout_s):
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                response.close()
                raise Malformed(f"cannot {call}: the answer is longer than {limit_bytes} bytes")
        return b"".join(parts)

    def chunks(
        self, call: Call, response: urllib3.BaseHTTPResponse, read_timeout_s: float | None = None
    ) -> Iterator[bytes]:
        """The body in pieces; ClusterUnreachable if it breaks off, or takes three times the read timeout."""
        read_s = read_timeout_s or self._read_timeout_s
        budget_s = 3 * read_s
        ends = time.monotonic() + budget_s
        try:
            with self.translated(call, read_s):
                for part in response.stream(CHUNK_BYTES):
                    yield part
                    if time.monotonic() > ends:
                        raise ClusterUnreachable(
                            f"cannot {call}: the answer did not end within {budget_s:g} s"
                        )
        except BaseException:
            response.close()
            raise

    def open(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: dict[str, Any] | None = None,
        read_timeout_s: float | None = None,
        gzip: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """The answer with its body unread, status below 300; everything else is raised as a ClusterError."""
        session = self._session
        read_s = read_timeout_s or self._read_timeout_s
        response = self._send(session, call, method, path, query, body, read_s, gzip)
        if response.status == 401:
            response.close()
            session = self._renewed(session)
            response = self._send(session, call, method, path, query, body, read_s, gzip)
        if 200 <= response.status < 300:
            return response
        with self.translated(call, read_s):
            said = response.read(ERROR_BODY_LIMIT, decode_content=True)
            response.close()
        raise error_from_answer(call, response.status, response.headers, said)

    def stream(self, call: Call, path: str, query: Mapping[str, str], *, silence_s: float) -> "Stream":
        """An answer that is read line by line as it comes, without an end of its own."""
        response = self.open(call, "GET", path, query, read_timeout_s=silence_s)
        return Stream(self, call, response, silence_s)

    def _send(
        self,
        session: Session,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: dict[str, Any] | None,
        read_timeout_s: float,
        gzip: bool,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "buildportal"}
        headers["Accept-Encoding"] = "gzip" if gzip else "identity"
        with self._lock:
            authorization = session.authorization()
        if authorization:
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self.translated(call, read_timeout_s):
            return session.pool.urlopen(
                method,
                session.host + path + _query_text(query),
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=self._connect_timeout_s, read=read_timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )

    def _renewed(self, refused: Session) -> Session:
        """A session with credentials read anew, shared by all threads that were refused with the old."""
        with self._lock:
            if self._session is refused:
                self._session = self._load()
            return self._session

    @contextmanager
    def translated(self, call: Call, read_timeout_s: float) -> Iterator[None]:
        """Everything that urllib3 and the socket raise inside becomes ClusterUnreachable."""
        try:
            yield
        except (exceptions.HTTPError, OSError) as error:
            what = _failure(error, self._connect_timeout_s, read_timeout_s)
            raise ClusterUnreachable(f"cannot {call}: {what}") from error


class Stream:
    """An open answer, read by one thread; `cut` may be called by any."""

    def __init__(
        self, transport: Transport, call: Call, response: urllib3.BaseHTTPResponse, silence_s: float
    ) -> None:
        self._transport = transport
        self._call = call
        self._response = response
        self._silence_s = silence_s

    def lines(self) -> Iterator[bytes]:
        """Each whole line, as soon as it is there; ends when the server ends the answer properly.

        ClusterUnreachable: broken off, or silent for too long. A last line without its end is dropped: it was
        cut.
        """
        rest = b""
        while True:
            with self._transport.translated(self._call, self._silence_s):
                chunk = self._response.read1(CHUNK_BYTES)
            if not chunk:
                return
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_LIMIT_BYTES:
                raise Malformed(f"cannot {self._call}: a line is longer than {LINE_LIMIT_BYTES} bytes")
            yield from filter(None, whole)

    def cut(self) -> None:
        """Ends the read that another thread is blocked in, as if the server had closed the connection."""
        # Already read to its end, or closed: then nobody is blocked.
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        """By the reader, when it is done."""
        self._response.close()


def _query_text(query: Mapping[str, str]) -> str:
    return "?" + urlencode(query) if query else ""


def _failure(error: Exception, connect_timeout_s: float, read_timeout_s: float) -> str:
    """What went wrong on the way, without the addresses and object ids of urllib3's texts."""
    if isinstance(error, exceptions.NameResolutionError):
        return "the name of the API server does not resolve"
    if isinstance(error, exceptions.ReadTimeoutError | TimeoutError):
        return f"the API server was silent for {read_timeout_s:g} s"
    if isinstance(error, exceptions.SSLError):
        return f"TLS with the API server failed ({error})"
    if isinstance(error, exceptions.NewConnectionError):
        cause = error.__cause__ or error.__context__
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else "no route"
        return f"no connection to the API server ({why.lower()})"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return f"no connection to the API server within {connect_timeout_s:g} s"
    if isinstance(error, exceptions.ProxyError):
        return "no connection to the API server through the proxy"
    return f"the connection to the API server broke off ({type(error).__name__})"
