"""The API behind the real web server: what the test client cannot send, and a database that is not there."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_build, make_token
from tests.processes import Process, wait_until


@contextmanager
def server(env: dict[str, str]) -> Iterator[int]:
    """gunicorn on a free port, which it gives back."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    command = ("-m", "gunicorn", "buildportal.wsgi", "--bind", f"127.0.0.1:{port}")
    options = ("--worker-class", "gthread", "--threads", "4", "--no-control-socket")
    with Process.python(*command, *options, env=env) as process:
        process.wait_for_output("Booting worker")
        wait_until(lambda: is_open(port), 20, process.output)
        yield port


def is_open(port: int) -> bool:
    try:
        return ask(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, http.client.HTTPMessage]:
    """The status, the body and the headers."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None, answer.headers
    finally:
        link.close()


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.sqlite3", "postgres://nobody@127.0.0.1:1/none"])
def test_without_a_database_it_says_so(process_environment: dict[str, str], url: str) -> None:
    with server({**process_environment, "DATABASE_URL": url}) as port:
        assert ask(port, "GET", "/healthz")[0] == 200
        for path in ("/builds", "/readyz"):
            status, body, headers = ask(port, "GET", path, headers={"Authorization": "Bearer x"})
            assert (status, body["code"], headers["Retry-After"]) == (503, "unavailable", "5")
            assert body["correlation_id"] == headers["X-Correlation-ID"]
            assert body["details"] == ({"database": "unreachable"} if path == "/readyz" else {})
            for word in ("nowhere", "sqlite", "127.0.0.1", "connect"):
                assert word not in json.dumps(body)


def test_a_database_without_tables_is_not_ready(process_environment: dict[str, str], tmp_path: Path) -> None:
    with server({**process_environment, "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3"}) as port:
        status, body, _ = ask(port, "GET", "/readyz")
    assert (status, body["code"]) == (503, "unavailable")
    assert body["details"] == {"database": "unmigrated"}


def test_over_the_wire(process_environment: dict[str, str]) -> None:
    make_build(name="b-1")
    bearer = {"Authorization": f"Bearer {make_token()}"}
    with server(process_environment) as port:
        status, body, headers = ask(port, "GET", "/builds?limit=1", headers=bearer)
        assert (status, body["total"], headers["Content-Type"]) == (200, 1, "application/json")
        assert "gunicorn/" not in str(headers)

        status, body, headers = ask(port, "GET", "/builds", headers={"Authorization": "Bearer \xe9"})
        assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")

        chunks = iter([b'{"reason": "in chunks"}'])
        json_type = {"Content-Type": "application/json", **bearer}
        status, body, _ = ask(port, "POST", "/builds/b-1/cancel", chunks, json_type)
        assert (status, body["code"]) == (411, "length_required")

        status, body, headers = ask(port, "POST", "/builds/b-1/cancel", headers=bearer)
        assert (status, body["status"], headers["Retry-After"]) == (202, "cancelling", "1")

        for path in ("/%00", "/builds/%00", "/%ff%fe", "/builds/%ff", "//builds", "/builds?%ff=%fe"):
            status, body, _ = ask(port, "GET", path, headers=bearer)
            assert (status, body["success"]) in ((404, False), (400, False)), path
