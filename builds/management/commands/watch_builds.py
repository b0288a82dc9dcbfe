"""`manage.py watch_builds`: follow the cluster while this process leads, stand by while another does."""

import signal
import threading
from contextlib import suppress
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections, connection

from builds import lease, sync, tasks
from builds.kube import Cluster, ClusterError

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_S = 15.0
# How soon a lease that was given back, or has run out, is taken.
_STANDBY_POLL_S = 1.0


class Command(BaseCommand):
    help = "Watch the Jobs of the configured namespaces and record what happens to them; one process leads."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        cluster = _connect(stop)
        if cluster is not None:
            _stand(cluster, stop)


def _connect(stop: threading.Event) -> Cluster | None:
    """The cluster, as soon as it has been reached: who cannot reach it must not lead. None: told to stop."""
    pause_s, told = 0.5, ""
    while not stop.is_set():
        try:
            return tasks.cluster()
        except sync.WrongCluster as error:
            for namespace in settings.NAMESPACES:
                sync.note_failure(namespace, error)
            raise CommandError(str(error)) from error
        except (ClusterError, DatabaseError) as error:
            told = _tell_once(error, told)
        stop.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None


def _tell_once(error: ClusterError | DatabaseError, told: str) -> str:
    """Log and count what keeps the watches from beginning, once for as long as it is the same."""
    what = "cluster not reached" if isinstance(error, ClusterError) else "database failed"
    if what != told:
        log.warning(what, error=str(error))
    if isinstance(error, DatabaseError):
        close_old_connections()
        return what
    with suppress(DatabaseError):
        for namespace in settings.NAMESPACES:
            sync.note_outage(namespace, error, is_new=what != told)
    return what


def _stand(cluster: Cluster, stop: threading.Event) -> None:
    """Take the lease whenever it is free, and lead for as long as it holds; until told to stop."""
    me = lease.own_name()
    stood_by_for: str | None = None
    while not stop.is_set():
        try:
            term = lease.take(me)
            if term is not None:
                log.info("leading", holder=me, fence=term.fence)
                _lead(cluster, term, stop)
            elif (leader := lease.leader()) != stood_by_for:
                stood_by_for = leader
                log.info("standing by", holder=me, leader=leader)
        except DatabaseError as error:
            log.warning("lease out of reach", error=str(error), retry_in_s=_STANDBY_POLL_S)
            close_old_connections()
        stop.wait(_STANDBY_POLL_S)


def _lead(cluster: Cluster, term: lease.Term, stop: threading.Event) -> None:
    """Follow every namespace until the term is over or this process has to stop. Raises DatabaseError."""
    followers = [
        threading.Thread(target=_follow, args=(cluster, namespace, term), name=f"follow-{namespace}")
        for namespace in settings.NAMESPACES
    ]
    for follower in followers:
        follower.start()
    try:
        while not stop.wait(lease.RENEW_EVERY_S) and not term.is_set():
            try:
                term.renew()
            except DatabaseError as error:
                log.warning("lease not renewed yet", fence=term.fence, error=str(error))
                close_old_connections()
        # Before the followers have ended: they are fenced, and another may begin at once.
        term.give_back()
    finally:
        term.set()
        for follower in followers:
            follower.join()
        log.info("no longer leading", fence=term.fence)


def _follow(cluster: Cluster, namespace: str, term: lease.Term) -> None:
    """Follow one namespace for the whole term; start over, with a list, after whatever goes wrong."""
    pause_s = 0.5
    try:
        while not term.is_set():
            try:
                lease.free_what_a_frozen_process_holds()
                for due in sync.follow(cluster, namespace, stop=term, fence=term.check):
                    pause_s = 0.5
                    tasks.nudge_due(due)
            except lease.TermOver:
                return
            except ClusterError as error:
                log.warning("cluster not reached", namespace=namespace, error=str(error), retry_in_s=pause_s)
            except DatabaseError as error:
                log.warning("database failed", namespace=namespace, error=str(error), retry_in_s=pause_s)
                close_old_connections()
            term.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    finally:
        # Without one of its followers a leader does not lead: it, or another, begins anew.
        term.set()
        connection.close()
