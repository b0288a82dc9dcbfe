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
    ) -> bytes:
        """The whole answer; Malformed if it is longer than `limit_bytes`.

        The read timeout counts from byte to byte; three times as long may the whole body take.
        """
        response = self.open(call, method, path, query, body=body, gzip=True)
        parts, size = [], 0
        for part in self.chunks(call, response):
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                response.close()
                raise Malformed(f"cannot {call}: the answer is longer than {limit_bytes} bytes")
        return b"".join(parts)

    def chunks(self, call: Call, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body in pieces; ClusterUnreachable if it breaks off, or takes three times the read timeout."""
        budget_s = 3 * self._read_timeout_s
        ends = time.monotonic() + budget_s
        try:
            with self._translated(call, self._read_timeout_s):
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
        with self._translated(call, read_s):
            said = response.read(ERROR_BODY_LIMIT, decode_content=True)
            response.close()
        raise error_from_answer(call, response.status, response.headers, said)

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
        with self._translated(call, read_timeout_s):
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
    def _translated(self, call: Call, read_timeout_s: float) -> Iterator[None]:
        try:
            yield
        except (exceptions.HTTPError, OSError) as error:
            what = _failure(error, self._connect_timeout_s, read_timeout_s)
            raise ClusterUnreachable(f"cannot {call}: {what}") from error


def wake(response: urllib3.BaseHTTPResponse) -> None:
    """Ends the read that another thread is blocked in, as if the server had closed the connection."""
    # Already read to its end, or closed: then nobody is blocked.
    with suppress(ValueError, RuntimeError, OSError):
        response.shutdown()


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
