"""`manage.py collect_stats`: the process that gathers the workers' figures; holds no logic of its own."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from buildportal.celery import app


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT; several may run at once."""

    help = "Gather the workers' figures in the background and keep them in Redis."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        # Not at the top: the web process finds commands too, and needs none of this.
        from builds.stats.collector import Collector

        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            Collector(app, stop).run()
        except RuntimeError as error:
            raise CommandError(str(error)) from error
