"""The wish to cancel -> the cluster: keep the last lines, delete the Job, believe only what is confirmed."""

from datetime import UTC, datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from builds import facts, logs, record
from builds.kube import Cluster, ClusterError, Conflict, JobSnapshot, NotFound
from builds.models import Build, BuildLog, Cancellation
from builds.states import FINISHED, Status

log = structlog.get_logger(__name__)

# While one worker is at it no other is; longer than a silent cluster's timeouts. A killed worker's wish is
# free again after this.
LEASE = timedelta(seconds=12)
_LONGEST_PAUSE_S = 4
# A Job that changes between every reading and its deletion is left to the next try.
_READINGS = 5
# Pods get their grace period (30 s by default); a lost node never confirms.
_LONGEST_LOOK_S = 60


def take(build_id: int) -> bool:
    """Claim the next try at the wish; False if another worker is at it, or there is nothing left to do."""
    now = datetime.now(UTC)
    is_free = Q(tries=0) | Q(next_try_at__lte=now)
    return bool(_open_wish(build_id).filter(is_free).update(tries=F("tries") + 1, next_try_at=now + LEASE))


def postpone(build_id: int, error: ClusterError) -> None:
    """Note why a try failed, and give the wish back for the next one, soon at first."""
    wish = _open_wish(build_id).first()
    if wish is not None:
        pause = timedelta(seconds=min(2 ** min(wish.tries, 4) / 2, _LONGEST_PAUSE_S))
        _open_wish(build_id).update(
            next_try_at=datetime.now(UTC) + pause, last_error=facts.storable(str(error))
        )


def carry_out(build_id: int, cluster: Cluster) -> Build | None:
    """One try at the wish; None if there is no such build, else the build as it stands afterwards.

    Idempotent, and safe beside another try of the same wish. Raises ClusterError: nothing is concluded, and
    what was done so far stands.
    """
    build = Build.objects.select_related("cancellation").filter(pk=build_id).first()
    if build is None or build.status != Status.CANCELLING:
        return build
    _delete(build, build.cancellation, cluster)
    if build.status == Status.CANCELLING:
        # Held by a finalizer, or busy: not an error, and not yet gone.
        _open_wish(build_id).update(next_try_at=datetime.now(UTC) + timedelta(seconds=1))
    return build


def _open_wish(build_id: int) -> QuerySet[Cancellation]:
    return Cancellation.objects.filter(
        build=build_id, build__status=Status.CANCELLING, confirmed_at__isnull=True
    )


def _delete(build: Build, wish: Cancellation, cluster: Cluster) -> None:
    """Delete the Job as it was just read, unless it has finished; again, as long as it changes in between."""
    has_log = False
    for _ in range(_READINGS):
        job = cluster.get(build.namespace, build.name)
        if job is None or job.uid != build.uid:
            _confirm(build, wish, was_ours=wish.delete_sent_at is not None, has_pods=True)
            return
        if not has_log and facts.read(job).status not in FINISHED:
            has_log = True
            _keep_log(build, cluster)
        record.apply(job, source="cancellation", known=build)
        if build.status != Status.CANCELLING or _delete_as_read(build, wish, cluster, job):
            return


def _delete_as_read(build: Build, wish: Cancellation, cluster: Cluster, job: JobSnapshot) -> bool:
    """One DELETE of exactly what was read. False if it has changed since: perhaps it has finished."""
    was_sent_before = wish.delete_sent_at is not None
    if not was_sent_before:
        _note_sending(wish, datetime.now(UTC))
    try:
        cluster.delete_job(build.namespace, build.name, uid=job.uid, version=job.version)
    except Conflict:
        if not was_sent_before:
            _note_sending(wish, None)
        return False
    except NotFound:
        _confirm(build, wish, was_ours=was_sent_before, has_pods=bool(job.pods))
        return True
    # Gone at once, unless somebody's finalizer holds it: then the next try looks again.
    left = cluster.get(build.namespace, build.name)
    if left is None or left.uid != build.uid:
        _confirm(build, wish, was_ours=True, has_pods=bool(job.pods))
    return True


def _note_sending(wish: Cancellation, at: datetime | None) -> None:
    """Before the DELETE leaves: should its answer be lost, a later 404 was its doing."""
    wish.delete_sent_at = at
    Cancellation.objects.filter(pk=wish.pk).update(delete_sent_at=at)


def _keep_log(build: Build, cluster: Cluster) -> None:
    """The last lines before they are deleted. A log that cannot be read does not save the build."""
    try:
        logs.capture(cluster, build)
    except ClusterError as error:
        log.warning("log not kept before the deletion", build=build.name, error=str(error))


def _confirm(build: Build, wish: Cancellation, *, was_ours: bool, has_pods: bool) -> None:
    """The Job is known to be gone: the wish is fulfilled, whoever deleted it. `has_pods`: it may have."""
    now = datetime.now(UTC)
    outcome = Cancellation.JobOutcome.DELETED if was_ours else Cancellation.JobOutcome.ALREADY_GONE
    ending = Cancellation.PodsOutcome.TERMINATING if has_pods else Cancellation.PodsOutcome.GONE
    with transaction.atomic():
        event = build.move_to(
            Status.CANCELLED,
            source="cancellation",
            actor=wish.requested_by,
            message=wish.reason,
            correlation_id=wish.correlation_id,
            completed_at=now,
            gone_at=now,
        )
        if event is None:
            return
        Cancellation.objects.filter(pk=wish.pk).update(
            confirmed_at=now,
            job_outcome=outcome,
            pods_outcome=ending,
            next_look_at=now if has_pods else None,
            last_error="",
        )
        # The containers go on for their grace period: what they still print is worth a last reading.
        BuildLog.objects.update_or_create(build=build, defaults={"next_try_at": now})


def look_for_pods(build_id: int, cluster: Cluster) -> None:
    """Whether the pods of a cancelled build are gone by now; looks ever more rarely. Raises ClusterError.

    Nothing is forced: on a lost node a pod stays `terminating` for as long as the cluster says so.
    """
    build = Build.objects.select_related("cancellation").filter(pk=build_id, uid__isnull=False).first()
    if build is None or build.cancellation.next_look_at is None:
        return
    now = datetime.now(UTC)
    age_s = (now - (build.cancellation.confirmed_at or now)).total_seconds()
    next_look_at = now + timedelta(seconds=min(max(2.0, age_s / 4), _LONGEST_LOOK_S))
    Cancellation.objects.filter(pk=build.cancellation.pk).update(next_look_at=next_look_at)
    if not cluster.pods_of(build.namespace, str(build.uid)):
        record.pods_gone(str(build.uid))
