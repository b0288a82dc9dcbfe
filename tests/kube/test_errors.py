"""Recorded error answers, sent over HTTP, become the right error with a message fit for a log."""

import json

import pytest

from builds.kube import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
    VersionExpired,
)
from tests.kube.conftest import Connect
from tests.kube.replay import JSON_TYPE, recorded_answer
from tests.kube.server import Answer, ScriptedServer

SECRET = "hunter2"
POD_TEMPLATE = json.dumps({"containers": [{"env": [{"name": "TOKEN", "value": SECRET}]}]})
IMMUTABLE = f"spec.template: Invalid value: {POD_TEMPLATE}: field is immutable"
INVALID = {
    "kind": "Status",
    "status": "Failure",
    "message": f'Job.batch "x" is invalid: {IMMUTABLE}',
    "reason": "Invalid",
    "details": {
        "name": "x",
        "kind": "Job",
        "causes": [
            {
                "reason": "FieldValueInvalid",
                "message": IMMUTABLE.partition(": ")[2],
                "field": "spec.template",
            }
        ],
    },
    "code": 422,
}


def error_of(server: ScriptedServer, connect: Connect, answer: Answer) -> ClusterError:
    """What a deletion ends in when it is answered so."""
    server.on("DELETE", "/jobs/x", answer)
    with pytest.raises(ClusterError) as caught:
        connect(server).delete_job("builds", "x", uid="u", version=1)
    return caught.value


@pytest.mark.parametrize(
    ("recording", "number", "kind", "status"),
    [
        ("05-already-exists", 2, AlreadyExists, 409),
        ("05-already-exists", 4, AlreadyExists, 409),
        ("06-not-found-and-invalid", 2, NotFound, 404),
        ("06-not-found-and-invalid", 6, NotFound, 404),
        ("06-not-found-and-invalid", 7, Rejected, 404),
        ("06-not-found-and-invalid", 9, Rejected, 422),
        ("06-not-found-and-invalid", 19, Rejected, 400),
        ("13-auth-and-bad-requests", 1, Unauthorized, 401),
        ("13-auth-and-bad-requests", 2, Forbidden, 403),
        ("13-auth-and-bad-requests", 22, Rejected, 405),
        ("13-auth-and-bad-requests", 28, Rejected, 413),
        ("13-auth-and-bad-requests", 34, Throttled, 429),
        ("13-auth-and-bad-requests", 36, Forbidden, 403),
        ("19-server-side-apply", 4, Conflict, 409),
    ],
)
def test_recorded_answers(
    server: ScriptedServer,
    connect: Connect,
    recording: str,
    number: int,
    kind: type[ClusterError],
    status: int,
) -> None:
    error = error_of(server, connect, recorded_answer(recording, number))
    assert type(error) is kind
    assert error.status == status
    assert "\n" not in str(error)
    assert str(error).startswith("cannot delete jobs x in namespace builds: ")


def test_429_is_plain_text_and_says_when_to_come_back(server: ScriptedServer, connect: Connect) -> None:
    error = error_of(server, connect, recorded_answer("13-auth-and-bad-requests", 34))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 1.0
    assert "Too many requests, please try again later. (429)" in str(error)
    assert len(server.requests) == 1, "a throttled call is not retried behind the caller's back"


def test_403_names_verb_resource_and_namespace(server: ScriptedServer, connect: Connect) -> None:
    error = error_of(server, connect, recorded_answer("13-auth-and-bad-requests", 2))
    assert isinstance(error, Forbidden)
    assert (error.verb, error.resource, error.namespace) == ("delete", "jobs", "builds")


def test_a_422_does_not_carry_the_pod_template(server: ScriptedServer, connect: Connect) -> None:
    error = error_of(server, connect, Answer(422, json.dumps(INVALID).encode(), JSON_TYPE))
    assert type(error) is Rejected
    assert str(error).endswith("spec.template: field is immutable (422)")
    chain = [error, error.__cause__, error.__context__]
    assert SECRET not in repr(chain)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_is_the_servers_fault(server: ScriptedServer, connect: Connect, status: int) -> None:
    answer = Answer(status, b"<html>apiserver is shutting down</html>", {"Retry-After": "7"})
    error = error_of(server, connect, answer)
    assert isinstance(error, ServerFault)
    assert (error.status, error.retry_after_s) == (status, 7.0)


def test_410_is_an_expired_version(server: ScriptedServer, connect: Connect) -> None:
    body = {"kind": "Status", "message": "gone", "reason": "Expired", "code": 410}
    assert type(error_of(server, connect, Answer(410, json.dumps(body).encode()))) is VersionExpired


@pytest.mark.parametrize("body", [b"404 page not found\n", b"<html>", b"", b"{}", b'{"reason": 3}'])
def test_a_404_that_no_api_server_said_is_not_an_absence(
    server: ScriptedServer, connect: Connect, body: bytes
) -> None:
    assert type(error_of(server, connect, Answer(404, body))) is Malformed


def test_a_redirect_is_not_followed(server: ScriptedServer, connect: Connect) -> None:
    error = error_of(server, connect, Answer(302, b"", {"Location": server.url + "/elsewhere"}))
    assert type(error) is Malformed
    assert len(server.requests) == 1


def test_a_long_message_is_cut(server: ScriptedServer, connect: Connect) -> None:
    error = error_of(server, connect, Answer(500, b"x " * 100_000))
    assert len(str(error)) < 700
