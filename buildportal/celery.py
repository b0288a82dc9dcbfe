"""The Celery app, its clock and the base class of every task; holds no domain."""

import os
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging

from buildportal import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "buildportal.settings")


class PortalTask(Task):
    """Carries the correlation id of whoever sent it onto every log line and row that the task causes."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        headers = dict(options.pop("headers", None) or {})
        headers.setdefault("caused_by", telemetry.current_correlation_id())
        return super().apply_async(args, kwargs, headers=headers, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with telemetry.correlated(getattr(self.request, "caused_by", None), task=self.name):
            return super().__call__(*args, **kwargs)


app = Celery("buildportal", task_cls=PortalTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def set_the_clock(sender: Celery, **_: Any) -> None:
    """The sweepers and the lister. Each tick expires before the next but one, so that an absent worker
    does not come back to a heap of them."""
    from django.conf import settings

    periods = {
        "builds.tasks.reconcile": settings.RECONCILE_INTERVAL_S,
        "builds.tasks.sweep_cancellations": settings.SWEEP_INTERVAL_S,
        "builds.tasks.sweep_cleanups": settings.SWEEP_INTERVAL_S,
        "builds.tasks.sweep_logs": settings.LIVE_LOG_INTERVAL_S,
        "builds.tasks.sweep_outbox": settings.SWEEP_INTERVAL_S,
    }
    sender.conf.beat_schedule = {
        name: {"task": name, "schedule": period_s, "options": {"expires": 2 * period_s}}
        for name, period_s in periods.items()
    }


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Celery must not replace the handlers that settings.py has set up."""
