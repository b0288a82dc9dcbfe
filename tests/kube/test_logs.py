"""Reading a pod's log: the recorded answers, raw bytes, and which end is kept when there is too much."""

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from builds.kube import LogUnavailable, NotFound, Rejected
from tests.kube.conftest import Connect
from tests.kube.replay import entry, recorded_answer
from tests.kube.server import Answer, ScriptedServer

LOGS = "12-pod-logs"


def log_of(server: ScriptedServer, connect: Connect, answer: Answer, **options: Any) -> bytes:
    server.on("GET", "/pods/p/log", answer)
    return connect(server).read_log("builds", "p", "kaniko", **options)


def test_204_is_an_empty_log(server: ScriptedServer, connect: Connect) -> None:
    assert log_of(server, connect, recorded_answer(LOGS, 1)) == b""


@pytest.mark.parametrize(
    ("number", "why"),
    [(3, "pod_initializing"), (35, "pod_initializing"), (32, "image_pull"), (33, "image_pull")],
)
def test_a_container_that_waits(server: ScriptedServer, connect: Connect, number: int, why: str) -> None:
    with pytest.raises(LogUnavailable) as caught:
        log_of(server, connect, recorded_answer(LOGS, number))
    assert caught.value.why == why


def test_a_container_that_waits_for_something_else(server: ScriptedServer, connect: Connect) -> None:
    said = b'{"message": "container x in pod p is waiting to start: CreateContainerConfigError"}'
    with pytest.raises(LogUnavailable) as caught:
        log_of(server, connect, Answer(400, said))
    assert caught.value.why == "other"


@pytest.mark.parametrize("number", [5, 22, 34])
def test_a_question_that_makes_no_sense(server: ScriptedServer, connect: Connect, number: int) -> None:
    with pytest.raises(Rejected):
        log_of(server, connect, recorded_answer(LOGS, number))


def test_a_pod_that_is_gone(server: ScriptedServer, connect: Connect) -> None:
    with pytest.raises(NotFound):
        log_of(server, connect, recorded_answer(LOGS, 29))


def test_a_recorded_log(server: ScriptedServer, connect: Connect) -> None:
    answer = recorded_answer(LOGS, 26)
    assert log_of(server, connect, Answer(chunks=[answer.body])) == answer.body
    assert answer.body.startswith(b"INFO[0000] Retrieving image manifest debian:12-slim\n")


def test_bytes_that_are_no_utf8_come_through(server: ScriptedServer, connect: Connect) -> None:
    raw = bytes.fromhex(entry(LOGS, 38)["comment"]["raw bytes (hex)"])
    assert b"bad " in raw
    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    assert log_of(server, connect, Answer(chunks=[raw])) == raw


def test_a_last_line_without_its_end_is_kept(server: ScriptedServer, connect: Connect) -> None:
    assert log_of(server, connect, Answer(chunks=[b"a\nb"]), tail_lines=10) == b"a\nb"


def test_what_is_asked_of_the_server(server: ScriptedServer, connect: Connect) -> None:
    since = datetime(2026, 11, 23, 4, 22, 27, 900_000, tzinfo=UTC)
    log_of(server, connect, Answer(), limit_bytes=10, previous=True, timestamps=True, since_time=since)
    assert server.requests[0].query == {
        "container": "kaniko",
        "limitBytes": "10",
        "previous": "true",
        "timestamps": "true",
        "sinceTime": "2026-11-23T04:22:27Z",
    }


def test_a_tail_keeps_its_end_and_whole_lines(server: ScriptedServer, connect: Connect) -> None:
    lines = [b"line %04d\n" % number for number in range(1000)]
    found = log_of(server, connect, Answer(chunks=lines), tail_lines=1000, limit_bytes=95)
    assert found == b"".join(lines[-9:])
    assert server.requests[0].query == {"container": "kaniko", "tailLines": "1000"}


def test_a_single_endless_line_keeps_its_end(server: ScriptedServer, connect: Connect) -> None:
    answer = Answer(chunks=[b"x" * 1000, b"y" * 1000])
    assert log_of(server, connect, answer, tail_lines=5, limit_bytes=1500) == b"x" * 500 + b"y" * 1000


def test_memory_does_not_grow_with_the_log(server: ScriptedServer, connect: Connect) -> None:
    server.on("GET", "/pods/p/log", Answer(chunks=(b"%060d\n" % 7 * 1000 for _ in range(500))))
    cluster = connect(server)
    tracemalloc.start()
    try:
        found = cluster.read_log("builds", "p", "kaniko", tail_lines=1000, limit_bytes=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 99_000 < len(found) <= 100_000
    assert peak < 5_000_000, "30 MB came over the wire"
