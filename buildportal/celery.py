"""The Celery app, its clock and the base class of every task; holds no domain."""

import os
import time
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging

from buildportal import outcomes, telemetry
from buildportal.outcomes import Outcome

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "buildportal.settings")


class PortalTask(Task):
    """Carries the correlation id of whoever sent it onto every log line and row that the task causes.

    It counts how its runs end, and writes on each message when it was sent (seconds since the epoch), so
    that a queue can tell how long its oldest message has waited.
    """

    abstract = True

    # The stubs list every option by name; passing them through needs none of the names.
    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        headers = dict(options.pop("headers", None) or {})
        headers.setdefault("caused_by", telemetry.current_correlation_id())
        headers["sent_at"] = time.time()  # a retry is sent anew
        return super().apply_async(args, kwargs, headers=headers, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with telemetry.correlated(getattr(self.request, "caused_by", None), task=self.name):
            return super().__call__(*args, **kwargs)

    # Celery calls none of these for a message that expired before it was run.

    def on_success(self, *_: Any) -> None:
        self._count(Outcome.SUCCEEDED)

    def on_failure(self, *_: Any) -> None:
        self._count(Outcome.FAILED)

    def on_retry(self, *_: Any) -> None:
        self._count(Outcome.RETRIED)

    def _count(self, outcome: Outcome) -> None:
        if not self.request.is_eager:  # no worker has run it
            outcomes.count(outcome)


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
