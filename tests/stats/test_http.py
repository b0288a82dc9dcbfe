"""GET /async-jobs/stats over HTTP: true and quick while workers come to their ends."""

import http.client
import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from builds.models import ApiToken, Build, Scope
from builds.states import Status
from tests.processes import Process
from tests.stats.conftest import LOST_S, wait_for

LONGEST_P99_S = 0.05


class Client:
    """A token for the statistics, and a connection that is opened anew for each series of requests."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self._headers = {"Authorization": f"Bearer {secret}"}

    def stats(self) -> dict[str, Any]:
        """The body of a 200."""
        self._connection.request("GET", "/async-jobs/stats", headers=self._headers)
        response = self._connection.getresponse()
        body: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, body
        return body

    def p99_s(self, requests: int) -> float:
        """The time that 99 of 100 requests stay below."""
        self._connection.close()
        times = []
        for _ in range(requests):
            began = time.perf_counter()
            self.stats()
            times.append(time.perf_counter() - began)
        return statistics.quantiles(times, n=100)[98]

    def is_quick(self) -> bool:
        """Whether one of three series of 1,000 is: what else the machine does can only make them slower."""
        return any(self.p99_s(1000) < LONGEST_P99_S for _ in range(3))


@pytest.fixture
def client(start: Callable[..., Process], process_environment: dict[str, str]) -> Iterator[Client]:
    """A client of a gunicorn of its own."""
    _, secret = ApiToken.issue(name="stats", scopes=[Scope.STATS_READ], third_party_ids=["one"])
    options = (
        "--bind",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--worker-class",
        "gthread",
        "--threads",
        "4",
        "--no-control-socket",
    )
    command = ("-m", "gunicorn", "buildportal.wsgi", *options)
    with Process.python(*command, env=process_environment) as web:
        web.wait_for_output("Booting worker")
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", web.output)
        assert found, web.output
        yield Client(int(found[1]), secret)


@pytest.mark.alone
def test_true_and_quick_with_two_workers_with_one_killed_and_with_none(
    start: Callable[..., Process], client: Client
) -> None:
    Build.objects.bulk_create(
        Build(
            namespace="knative-lambda",
            name=f"build-{number}",
            uid=f"uid-{number}",
            third_party_id="one" if number % 2 else "two",
            status=Status.RUNNING,
            created_at=datetime.now(UTC),
        )
        for number in range(500)
    )
    start("collector")
    one, two = start("worker", "one"), start("worker", "two")
    wait_for(15, worker_count=4)
    assert client.is_quick()
    body = client.stats()
    assert (body["worker_count"], body["is_shutdown"], body["success"]) == (4, False, True)
    assert body["builds"] == {"pending": 0, "running": 250}
    assert {"timestamp", "duration", "correlation_id"} <= body.keys()

    one.kill()
    wait_for(LOST_S + 4, worker_count=2)
    assert client.is_quick()
    assert client.stats()["is_shutdown"] is False

    two.kill()
    wait_for(LOST_S + 4, worker_count=0)
    assert client.is_quick()
    assert client.stats()["is_shutdown"] is True
