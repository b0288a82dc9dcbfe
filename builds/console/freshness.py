"""How fresh the picture of the cluster is, from the rows that the sync writes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from builds.models import NamespaceSync

# Between two lists a silent watch is nothing to worry about; two missed lists are.
_MISSED_LISTS = 3


@dataclass(frozen=True, slots=True)
class Freshness:
    """The oldest sign of life of all namespaces; `as_of` None: at least one was never listed."""

    as_of: datetime | None
    is_stale: bool
    error: str
    alarm: str


def freshness(rows: Iterable[NamespaceSync], *, now: datetime | None = None) -> Freshness:
    """Judge the rows of NamespaceSync; none at all is a cluster that was never seen."""
    found = list(rows)
    moment = now or timezone.now()
    seen = [max(filter(None, (row.listed_at, row.watched_at)), default=None) for row in found]
    known = [at for at in seen if at is not None]
    as_of = min(known) if known and len(known) == len(seen) else None
    allowed = timedelta(seconds=_MISSED_LISTS * settings.RECONCILE_INTERVAL_S)
    failing = [
        row for row in found if row.failed_at and (row.listed_at is None or row.failed_at > row.listed_at)
    ]
    return Freshness(
        as_of=as_of,
        is_stale=as_of is None or moment - as_of > allowed,
        error="; ".join(row.last_error for row in failing if row.last_error),
        alarm="; ".join(row.alarm for row in found if row.alarm),
    )


def current_freshness() -> Freshness:
    """The same for this moment. One query."""
    return freshness(NamespaceSync.objects.filter(namespace__in=settings.NAMESPACES))
