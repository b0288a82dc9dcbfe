"""Who may follow the watches: one holder at a time, by the database's clock; knows nothing of the cluster.

The row is only ever moved by an UPDATE on what the mover believes in. Nothing is locked in between, so that a
frozen holder keeps nobody waiting.
"""

import os
import secrets
import socket
import threading
import time
from datetime import timedelta

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from builds.models import WatchLease

# The lease of a dead holder runs out after this; a live one renews it several times before.
LEASE_S = 8.0
RENEW_EVERY_S = 2.0
# What a holder believes in ends a little before what the database grants.
_MARGIN_S = 1.0


def own_name() -> str:
    """Tells this process from every other one, also from an earlier one of the same host and number."""
    return f"{socket.gethostname()[:64]}/{os.getpid()}/{secrets.token_hex(3)}"


class TermOver(Exception):
    """What was to be written belongs to another holder now."""


class Term(threading.Event):
    """One holder's time; set once it is over: given up, run out, or taken by another.

    Running out needs no call: a process that was frozen finds its term over as soon as it goes on.
    """

    def __init__(self, fence: int, begun_s: float) -> None:
        super().__init__()
        self.fence = fence
        self._ends_s = begun_s + LEASE_S - _MARGIN_S

    def is_set(self) -> bool:
        """Whether it is over, as far as can be known without asking the database."""
        return super().is_set() or time.monotonic() >= self._ends_s

    def check(self) -> None:
        """Raise TermOver unless it goes on, by the database too; one query, before something is written."""
        if self.is_set() or not WatchLease.objects.filter(fence=self.fence).exists():
            self.set()
            raise TermOver

    def renew(self) -> bool:
        """Make it last LEASE_S from now; False, and over, if it ran out or another has the lease."""
        asked_s = time.monotonic()
        if not self.is_set() and _still(self.fence).update(expires_at=_in(LEASE_S)):
            self._ends_s = asked_s + LEASE_S - _MARGIN_S
        else:
            self.set()
        return not self.is_set()

    def give_back(self) -> None:
        """End it, and let another begin at once."""
        self.set()
        _still(self.fence).update(holder="", expires_at=None)


def take(holder: str) -> Term | None:
    """Begin a term, with a fencing value above all before; None (after two queries) while another goes on."""
    free = WatchLease.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__lte=Now()))
    fence = free.values_list("fence", flat=True).first()
    if fence is None:
        _, is_first = WatchLease.objects.get_or_create(pk=1)
        return take(holder) if is_first else None
    asked_s = time.monotonic()
    is_won = free.filter(fence=fence).update(
        holder=holder, fence=fence + 1, taken_at=Now(), expires_at=_in(LEASE_S)
    )
    return Term(fence + 1, asked_s) if is_won else None


def free_what_a_frozen_process_holds(after_s: float = LEASE_S) -> None:
    """Have the server end a transaction of this thread's connection that is left idle for so long.

    A process that is stopped in the middle of one would keep its rows from the next holder. On SQLite
    nothing can be done: whoever is stopped while writing stops all others from writing.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {round(after_s * 1000)}")


def leader() -> str:
    """Who holds the lease, or held it last without giving it back; empty if nobody does."""
    return WatchLease.objects.values_list("holder", flat=True).first() or ""


def _still(fence: int) -> QuerySet[WatchLease]:
    return WatchLease.objects.filter(fence=fence, expires_at__gt=Now())


def _in(seconds: float) -> Combinable:
    return Now() + timedelta(seconds=seconds)
