"""GET /async-jobs/stats: the envelope around the figures; these have their tests in tests/stats."""

from builds.states import Status
from tests.api.conftest import Api
from tests.builders import make_build
from tests.valkey import Valkey

KEYS = {
    *("worker_count", "queue_size", "max_queue_size", "results_count", "is_shutdown", "timestamp"),
    *("total_queued", "active", "reserved", "scheduled", "processed", "succeeded", "failed", "retried"),
    *("counting_since", "queues", "workers", "builds", "as_of", "age", "stale"),
    *("success", "duration", "correlation_id"),
}


def test_has_all_keys(api: Api, valkey: Valkey) -> None:
    make_build(status=Status.PENDING)
    answer = api("stats:read").get("/async-jobs/stats")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) >= KEYS
    assert (body["success"], body["max_queue_size"]) == (True, 100)
    assert body["builds"] == {"pending": 1, "running": 0}


def test_with_the_broker_away_it_says_unknown(api: Api, valkey: Valkey) -> None:
    client = api()
    with valkey.stopped():
        answer = client.get("/async-jobs/stats")
    body = answer.json()
    assert answer.status_code == 200
    assert body["worker_count"] is body["is_shutdown"] is body["queue_size"] is None
    assert body["stale"] is True
    assert body["duration"] < 2


def test_takes_no_parameter(api: Api) -> None:
    answer = api().get("/async-jobs/stats?window=1h")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
