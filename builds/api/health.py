"""GET /healthz and /readyz, for probes: no token, and no answer that waits for the cluster or a worker."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from rest_framework.request import Request

from builds import stats
from builds.api.answers import json_answer, stamp
from builds.api.errors import DATABASE_AWAY, unavailable
from builds.api.views import ApiView
from builds.models import NamespaceSync

# One late list is nothing to worry about; three are.
_MISSED_LISTS = 3


class ProbeView(ApiView):
    """Open to everyone: a probe has no token."""

    authentication_classes = ()
    permission_classes = ()


class HealthView(ProbeView):
    """The process is up; asks nothing of anybody."""

    def get(self, request: Request) -> HttpResponse:
        return json_answer({"success": True, "status": "ok", **stamp(request)})


class ReadyView(ProbeView):
    """503 only without a usable database: with anything else away, the portal still answers what it knows."""

    def get(self, request: Request) -> HttpResponse:
        try:
            is_migrated = _MIGRATED.is_reached()
            rows = (
                list(NamespaceSync.objects.filter(namespace__in=settings.NAMESPACES)) if is_migrated else []
            )
        except DATABASE_AWAY:
            raise unavailable("The database cannot be reached.", database="unreachable") from None
        except DatabaseError:
            is_migrated = False
        if not is_migrated:
            raise unavailable("The database lacks migrations; run manage.py migrate.", database="unmigrated")
        checks = {
            "database": {"status": "ok", "age": 0.0},
            **stats.health(),
            **_cluster_health(rows, datetime.now(UTC)),
        }
        body = {"success": True, "status": "ready", "checks": checks, **stamp(request)}
        return json_answer(body)


class _Migrated:
    """Whether all migrations are applied: asked until it is so, then never again by this process."""

    def __init__(self) -> None:
        self._is_reached = False

    def is_reached(self) -> bool:
        """Raises DatabaseError. Once true it costs the one query that shows that the database is there."""
        if not self._is_reached:
            executor = MigrationExecutor(connection)
            self._is_reached = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        return self._is_reached


_MIGRATED = _Migrated()


def _cluster_health(rows: list[NamespaceSync], now: datetime) -> dict[str, dict[str, Any]]:
    """`sync`: the last complete list of the worst namespace. `cluster`: its last good answer."""
    allowed = timedelta(seconds=_MISSED_LISTS * settings.RECONCILE_INTERVAL_S)
    listed = [row.listed_at for row in rows]
    answered = [max(filter(None, (row.listed_at, row.watched_at)), default=None) for row in rows]
    is_complete = len(rows) == len(set(settings.NAMESPACES))
    has_alarm = any(row.alarm for row in rows)
    failed_last = any(
        row.failed_at is not None and (at is None or row.failed_at > at)
        for row, at in zip(rows, answered, strict=True)
    )
    sync, cluster = _oldest_age(listed, now), _oldest_age(answered, now)
    return {
        "sync": _check(sync, is_ok=is_complete and not has_alarm, allowed=allowed),
        "cluster": _check(cluster, is_ok=is_complete and not failed_last, allowed=allowed),
    }


def _oldest_age(moments: list[datetime | None], now: datetime) -> timedelta | None:
    """None where one of them is not known, or there is none."""
    known = [at for at in moments if at is not None]
    return max(now - min(known), timedelta()) if known and len(known) == len(moments) else None


def _check(age: timedelta | None, *, is_ok: bool, allowed: timedelta) -> dict[str, Any]:
    is_fresh = is_ok and age is not None and age <= allowed
    return {
        "status": "ok" if is_fresh else "degraded",
        "age": None if age is None else round(age.total_seconds(), 3),
    }
