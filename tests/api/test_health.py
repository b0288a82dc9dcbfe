"""GET /healthz and /readyz: what a probe is told, with every other part of the portal there or away."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.models import NamespaceSync
from tests.valkey import Valkey


def ready() -> dict[str, dict[str, object]]:
    answer = Client().get("/readyz")
    assert answer.status_code == 200, answer.content
    assert (answer.json()["success"], answer.json()["status"]) == (True, "ready")
    checks: dict[str, dict[str, object]] = answer.json()["checks"]
    return checks


def test_healthz_asks_nobody() -> None:
    # No database is allowed in this test.
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_readyz_names_every_part(db: None, valkey: Valkey) -> None:
    checks = ready()
    assert list(checks) == ["database", "broker", "workers", "sync", "cluster"]
    assert checks["database"]["status"] == checks["broker"]["status"] == "ok"
    assert checks["workers"]["status"] == "degraded"
    assert checks["sync"] == checks["cluster"] == {"status": "degraded", "age": None}


@pytest.mark.parametrize(
    ("listed", "watched", "failed", "alarm", "sync", "cluster"),
    [
        (1, 1, None, "", "ok", "ok"),
        (1, None, None, "", "ok", "ok"),
        (1, 1, 60, "", "ok", "ok"),
        (10, None, 1, "", "ok", "degraded"),
        (10, 1, 5, "", "ok", "ok"),
        (3600, 1, None, "", "degraded", "ok"),
        (3600, 3600, 1, "", "degraded", "degraded"),
        (1, 1, None, "7 of 10 builds are missing", "degraded", "ok"),
        (None, 1, None, "", "degraded", "ok"),
    ],
)
def test_readyz_tells_the_age_of_the_picture(
    db: None,
    listed: int | None,
    watched: int | None,
    failed: int | None,
    alarm: str,
    sync: str,
    cluster: str,
) -> None:
    now = timezone.now()
    ago = [
        None if seconds is None else now - timedelta(seconds=seconds) for seconds in (listed, watched, failed)
    ]
    NamespaceSync.objects.create(
        namespace="knative-lambda", listed_at=ago[0], watched_at=ago[1], failed_at=ago[2], alarm=alarm
    )
    checks = ready()
    assert (checks["sync"]["status"], checks["cluster"]["status"]) == (sync, cluster)
    if listed is not None:
        assert checks["sync"]["age"] == pytest.approx(listed, abs=5)


def test_readyz_is_quick_with_the_broker_away_or_silent(db: None, valkey: Valkey) -> None:
    for outage in (valkey.stopped, valkey.silent):
        with outage():
            started_s = time.monotonic()
            checks = ready()
            assert time.monotonic() - started_s < 2
        assert checks["broker"] == checks["workers"] == {"status": "degraded", "age": None}
        assert ready()["broker"]["status"] == "ok"


def test_readyz_looks_for_migrations_once(db: None) -> None:
    ready()
    with CaptureQueriesContext(connection) as queries:
        ready()
    # The ages of the picture, which show that the database is there as well.
    assert len(queries) == 1


def test_probes_take_a_token_that_is_wrong(db: None) -> None:
    for path in ("/healthz", "/readyz"):
        assert Client(headers={"Authorization": "Bearer wrong"}).get(path).status_code == 200
