"""Celery's doors: load by id, call one function, decide on the retry; and the sweepers of what was lost."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from threading import BoundedSemaphore
from typing import Any

import structlog
from celery import Task, shared_task
from django.conf import settings

from buildportal.broker import only_one
from builds import cancellation, logs, outbox, sync
from builds.kube import Cluster, ClusterConfig, ClusterError
from builds.models import Build, BuildLog, Cancellation, IdempotentRequest
from builds.states import Status

log = structlog.get_logger(__name__)

# How many the sweepers hand out at a time: what is left over is found by the next tick.
_HANDFUL = 200
_DELIVERIES = 50


@cache
def cluster() -> Cluster:
    """This process's gateway, bound to the database at first use. Raises ClusterError, WrongCluster."""
    config = ClusterConfig(
        mode="incluster" if settings.CLUSTER == "incluster" else "kubeconfig",
        kubeconfig=settings.KUBECONFIG,
        context=settings.KUBE_CONTEXT,
        connect_timeout_s=settings.KUBE_CONNECT_TIMEOUT_S,
        read_timeout_s=settings.KUBE_READ_TIMEOUT_S,
        list_timeout_s=settings.KUBE_LIST_TIMEOUT_S,
        page_size=settings.KUBE_PAGE_SIZE,
        watch_silence_s=settings.KUBE_WATCH_SILENCE_S,
        selector=settings.JOB_SELECTOR,
    )
    connected = Cluster.connect(config)
    sync.bind(connected)
    return connected


# --- Nudges -------------------------------------------------------------------------------------------------

# A silent broker blocks a publisher for seconds, and a request must not wait for it: the row asks for the
# work anyway. So nudges leave by a thread of their own, and those that find no room are dropped.
_publisher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nudge")
_room = BoundedSemaphore(100)
_NUDGES = 40


def nudge(task: Task, build_id: int) -> None:
    """Ask a worker to do now what a row asks for; never waits, never fails."""
    if not _room.acquire(blocking=False):
        log.warning("nudge dropped", task=task.name)
        return

    def publish() -> None:
        try:
            task.apply_async((build_id,), retry=False)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises: the sweeper finds the row
            log.warning("nudge not sent", task=task.name, error=type(error).__name__)
        finally:
            _room.release()

    _publisher.submit(publish)


def nudge_due(due: sync.Due) -> None:
    """Nudge for what became due; of a first list's thousands for some, the sweepers take the rest."""
    for build_id in islice(due.cancellations, _NUDGES):
        nudge(carry_out_cancellation, build_id)
    for build_id in islice(due.logs, _NUDGES):
        nudge(capture_log, build_id)


# --- Doors --------------------------------------------------------------------------------------------------


@shared_task
def carry_out_cancellation(build_id: int) -> None:
    """One try; the sweeper comes back for what is not confirmed."""
    if not cancellation.take(build_id):
        return
    try:
        cancellation.carry_out(build_id, cluster())
    except ClusterError as error:
        cancellation.postpone(build_id, error)
        log.warning("cancellation not carried out yet", build_id=build_id, error=str(error))


@shared_task
def look_for_pods(build_id: int) -> None:
    """Whether a cancelled build's pods are gone by now."""
    try:
        cancellation.look_for_pods(build_id, cluster())
    except ClusterError as error:
        log.warning("pods not looked for", build_id=build_id, error=str(error))


@shared_task
def capture_log(build_id: int) -> None:
    """Read and store a build's log: while it runs, and after its end until nothing more can come."""
    build = Build.objects.filter(pk=build_id).first()
    if build is None:
        return
    reading = None
    try:
        reading = logs.capture(cluster(), build)
    except ClusterError as error:
        log.warning("log not read", build=build.name, error=str(error))
    if build.is_finished:
        logs.due_again(build, reading)


@shared_task
def reconcile() -> None:
    """List every namespace and put right what the watch has missed."""
    with only_one("reconcile", for_s=120) as is_mine:
        if not is_mine:
            return
        for namespace in settings.NAMESPACES:
            try:
                nudge_due(sync.reconcile(cluster(), namespace))
            except (ClusterError, sync.WrongCluster) as error:
                if sync.note_failure(namespace, error):
                    log.warning("list failed", namespace=namespace, error=str(error))


# --- Sweepers -----------------------------------------------------------------------------------------------


def _send(task: Task, build_ids: Iterable[int], **options: Any) -> None:
    for build_id in build_ids:
        task.apply_async((build_id,), **options)


@shared_task
def sweep_cancellations() -> None:
    """Wishes that nobody is at: the message was lost, the worker died, the cluster was away."""
    due = Cancellation.objects.filter(
        confirmed_at__isnull=True, next_try_at__lte=datetime.now(UTC), build__status=Status.CANCELLING
    ).order_by("next_try_at")
    left = due.values_list("build_id", flat=True)[:_HANDFUL]
    _send(carry_out_cancellation, left, expires=settings.SWEEP_INTERVAL_S * 2)


@shared_task
def sweep_cleanups() -> None:
    """Cancelled builds whose pods were still ending, and idempotency keys that are over a day old."""
    due = Cancellation.objects.filter(next_look_at__lte=datetime.now(UTC)).order_by("next_look_at")
    left = due.values_list("build_id", flat=True)[:_HANDFUL]
    _send(look_for_pods, left, expires=settings.SWEEP_INTERVAL_S * 2)
    IdempotentRequest.objects.forget_old()


@shared_task
def sweep_logs() -> None:
    """Logs of running builds, and of finished ones whose last reading is still due."""
    running = Build.objects.filter(status__in=(Status.RUNNING, Status.CANCELLING)).values_list(
        "pk", flat=True
    )
    due = BuildLog.objects.filter(next_try_at__lte=datetime.now(UTC)).values_list("build_id", flat=True)
    _send(
        capture_log, {*running, *due.order_by("next_try_at")[:_HANDFUL]}, expires=settings.LIVE_LOG_INTERVAL_S
    )


@shared_task
def sweep_outbox() -> None:
    """Deliver what is due, one sender at a time so that the sink sees one build's events in order."""
    with only_one("outbox", for_s=_DELIVERIES * settings.EVENT_SINK_TIMEOUT_S) as is_mine:
        if is_mine:
            for _ in range(_DELIVERIES):
                if not outbox.deliver_next():
                    break
