"""`manage.py watch_builds`: follow the cluster until told to stop; any number of them does no harm."""

import signal
import threading
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections

from builds import sync, tasks
from builds.kube import ClusterError

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_S = 15.0


class Command(BaseCommand):
    help = "Watch the Jobs of the configured namespaces and record what happens to them."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        refusals: list[sync.WrongCluster] = []
        followers = [
            threading.Thread(target=_follow, args=(namespace, stop, refusals), name=f"follow-{namespace}")
            for namespace in settings.NAMESPACES
        ]
        for follower in followers:
            follower.start()
        for follower in followers:
            follower.join()
        if refusals:
            raise CommandError(str(refusals[0]))


def _follow(namespace: str, stop: threading.Event, refusals: list[sync.WrongCluster]) -> None:
    """Follow one namespace; start over, with a list, after whatever goes wrong."""
    pause_s = 0.5
    while not stop.is_set():
        try:
            for due in sync.follow(tasks.cluster(), namespace, stop=stop):
                pause_s = 0.5
                tasks.nudge_due(due)
        except sync.WrongCluster as error:
            sync.note_failure(namespace, error)
            refusals.append(error)
            stop.set()
        except ClusterError as error:
            log.warning("cluster not reached", namespace=namespace, error=str(error), retry_in_s=pause_s)
        except DatabaseError as error:
            log.warning("database failed", namespace=namespace, error=str(error), retry_in_s=pause_s)
            close_old_connections()
        if stop.wait(pause_s):
            return
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
