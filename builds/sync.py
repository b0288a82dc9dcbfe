"""Cluster -> builds: reconcile() lists, follow() watches; both hand snapshots to `record`.

The list is the truth, the watch is the speed. Nothing is concluded from a failed call.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Max

from builds import facts, kube, record
from builds.kube import Cluster, ClusterError, EventSnapshot, JobSnapshot, PodSnapshot
from builds.models import Build, ClusterBinding, NamespaceSync
from builds.record import Fence, no_fence
from builds.states import ACTIVE

log = structlog.get_logger(__name__)

_BATCH = 500
# Finished builds whose Job is absent are confirmed one GET each: so many at most per list.
_CONFIRMATIONS = 100
# An Event may overtake the first sight of its Job.
_EVENT_PATIENCE_S = 30.0
# A watch that is open, and ends again sooner than this, is still the same outage.
_QUIET_S = 6.0
# How far the clocks of the portal's own processes may be apart.
_CLOCKS_APART = timedelta(seconds=2)
_REMEMBERED_PODS = 20_000
_REMEMBERED_ENDS = 1_000


class WrongCluster(Exception):
    """The database records another cluster than the one that answers."""


@dataclass(slots=True)
class Due:
    """What became due, as ids of builds; the door that called enqueues it."""

    logs: set[int] = field(default_factory=set)
    cancellations: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.logs or self.cancellations)


def bind(cluster: Cluster) -> None:
    """Bind the database to the cluster at first contact; raise WrongCluster if it is bound to another.

    A cluster that lets nobody read namespace kube-system cannot be told apart: said, and accepted.
    Raises ClusterError if the cluster cannot be asked.
    """
    try:
        uid = cluster.identity()
    except (kube.Forbidden, kube.NotFound) as error:
        log.warning("the cluster cannot be told apart from others", error=str(error))
        return
    try:
        bound, _ = ClusterBinding.objects.get_or_create(pk=1, defaults={"cluster_uid": uid})
    except IntegrityError:
        bound = ClusterBinding.objects.get(pk=1)
    if bound.cluster_uid != uid:
        raise WrongCluster(
            f"This database records the cluster {bound.cluster_uid}, but {uid} answers. "
            "Use another database, or point the portal back at its cluster."
        )


def reconcile(cluster: Cluster, namespace: str) -> Due:
    """List once, record everything, look into what is missing. After a ClusterError nothing is concluded."""
    newest = Build.objects.aggregate(newest=Max("pk"))["newest"] or 0
    asked_at = datetime.now(UTC)
    listing = cluster.snapshots(namespace)
    return take_list(
        cluster, namespace, listing.version, listing.jobs, first_seen_up_to=newest, asked_at=asked_at
    )


def _nothing_more(_: JobSnapshot) -> None:
    """The row is all."""


def take_list(
    cluster: Cluster,
    namespace: str,
    version: int,
    jobs: Iterable[JobSnapshot],
    *,
    first_seen_up_to: int,
    asked_at: datetime | None = None,
    fence: Fence = no_fence,
    then: Callable[[JobSnapshot], None] = _nothing_more,
) -> Due:
    """Record a complete list, and call `then` with each Job once it has its row.

    Builds with a pk above `first_seen_up_to` are younger than the list: not missing.
    """
    due = Due()
    sync, _ = NamespaceSync.objects.get_or_create(namespace=namespace)
    was = _version_before(sync, asked_at or datetime.now(UTC))
    if version < was:
        # Restored from a backup: versions went back, so what is recorded is no measure for what is late.
        log.warning("resourceVersions went back", namespace=namespace, was=was, now=version)
        _count(namespace, troubles=1)
        Build.objects.filter(namespace=namespace, gone_at__isnull=True).update(observed_version=0)
    present: set[str] = set()
    for batch in _batches(jobs):
        present.update(job.uid for job in batch)
        due.logs |= record.apply_all(batch, source="list", fence=fence)
        for job in batch:
            then(job)
    not_gone = Build.objects.filter(
        namespace=namespace, gone_at__isnull=True, uid__isnull=False, pk__lte=first_seen_up_to
    )
    missing = [pk for pk, uid in not_gone.values_list("pk", "uid").iterator() if uid not in present]
    absent = list(Build.objects.filter(pk__in=missing)) if missing else []
    alarm = _look_for_missing(cluster, namespace, absent, due)
    if alarm and not sync.alarm:
        log.error("nothing concluded from a list", namespace=namespace, alarm=alarm)
        _count(namespace, troubles=1)
    NamespaceSync.objects.filter(pk=sync.pk).update(
        listed_at=datetime.now(UTC), listed_version=version, alarm=alarm, last_error=""
    )
    return due


def _version_before(sync: NamespaceSync, at: datetime) -> int:
    """The highest version that was recorded before then: another process may have gone on meanwhile."""
    seen = Build.objects.filter(
        namespace=sync.namespace, gone_at__isnull=True, observed_at__lt=at - _CLOCKS_APART
    )
    listed = sync.listed_version if sync.listed_at is None or sync.listed_at < at - _CLOCKS_APART else 0
    return max(listed, seen.aggregate(highest=Max("observed_version"))["highest"] or 0)


def _look_for_missing(cluster: Cluster, namespace: str, absent: list[Build], due: Due) -> str:
    """Conclude what may be of builds that a complete list lacks; the alarm's text if nothing may be."""
    missing = [build for build in absent if not build.is_finished]
    active = Build.objects.filter(namespace=namespace, status__in=ACTIVE, uid__isnull=False).count()
    if active >= 10 and 2 * len(missing) > active:
        return f"{len(missing)} of {active} active builds are missing at once: selector or namespace wrong?"
    now = datetime.now(UTC)
    grace = timedelta(seconds=settings.MISSING_GRACE_S)
    Build.objects.filter(pk__in=[build.pk for build in absent if build.missing_since is None]).update(
        missing_since=now
    )
    finished = [build for build in absent if build.is_finished]
    for build in missing + finished[:_CONFIRMATIONS]:
        if now - (build.missing_since or now) >= grace:
            _confirm_gone(cluster, build, due, was_seen=False, source="list")
        elif not build.is_finished:
            _confirm_present(cluster, build, due)
    return ""


def _confirm_present(cluster: Cluster, build: Build, due: Due) -> None:
    """A Job that no longer matches the selector is followed by name: its labels were edited."""
    try:
        job = cluster.get(build.namespace, build.name)
    except ClusterError as error:
        note_failure(build.namespace, error)
        return
    if job is not None and job.uid == build.uid:
        _record(job, due, source="list")


def _confirm_gone(cluster: Cluster, build: Build, due: Due, *, was_seen: bool, source: str) -> bool:
    """GET by the stored name: 404 or another uid is gone. False if the cluster could not be asked."""
    try:
        job = cluster.get(build.namespace, build.name)
    except ClusterError as error:
        note_failure(build.namespace, error)
        return False
    if job is not None and job.uid == build.uid:
        _record(job, due, source=source)
        return True
    was_finished = build.is_finished
    if record.vanished(build, was_seen=was_seen, source=source):
        due.cancellations.add(build.pk)
    elif not was_finished:
        due.logs.add(build.pk)
    return True


def _record(job: JobSnapshot, due: Due, *, source: str) -> None:
    due.logs |= record.apply_all([job], source=source)


def _batches(jobs: Iterable[JobSnapshot]) -> Iterator[list[JobSnapshot]]:
    batch: list[JobSnapshot] = []
    for job in jobs:
        batch.append(job)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def note_failure(namespace: str, error: ClusterError | WrongCluster) -> bool:
    """Keep what went wrong where support staff see it; the picture stays as old as it is.

    True if nothing had gone wrong since the last complete list: who logs, logs that.
    """
    failure = {"failed_at": datetime.now(UTC), "last_error": facts.storable(str(error))}
    if NamespaceSync.objects.filter(namespace=namespace, last_error="").update(**failure):
        return True
    _, is_first = NamespaceSync.objects.update_or_create(namespace=namespace, defaults=failure)
    return is_first


def note_outage(namespace: str, error: ClusterError, *, is_new: bool) -> None:
    """As note_failure, of what interrupts the watches or keeps them from beginning; and count it."""
    note_failure(namespace, error)
    _count(namespace, watch_restarts=1, troubles=int(is_new))


def _count(namespace: str, **more: int) -> None:
    """Add to the counters of a namespace, which outlast this process."""
    NamespaceSync.objects.filter(namespace=namespace).update(
        **{name: F(name) + by for name, by in more.items()}
    )


def _note_life(namespace: str) -> None:
    """The watch is connected: what it has told is all there is to know."""
    now = datetime.now(UTC)
    if not NamespaceSync.objects.filter(namespace=namespace).update(watched_at=now):
        NamespaceSync.objects.update_or_create(namespace=namespace, defaults={"watched_at": now})


def follow(
    cluster: Cluster, namespace: str, *, stop: threading.Event, fence: Fence = no_fence
) -> Iterator[Due]:
    """Record what the watch of a namespace tells, until `stop` is set; yields what became due.

    Ends only with `stop`; cluster errors are recorded and waited out. Database errors, and what `fence`
    raises, are passed on: what was told meanwhile is lost, and the caller starts over, with a list.
    """
    follower = _Follower(cluster, namespace, fence)
    for changes in kube.follow_together(cluster, namespace, stop=stop):
        due = follower.take(changes)
        if due:
            yield due


class _Follower:
    """What has to be remembered between two changes: whose pod was whose, and what came too early."""

    def __init__(self, cluster: Cluster, namespace: str, fence: Fence = no_fence) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.fence = fence
        self.job_of_pod: OrderedDict[str, str] = OrderedDict()
        self.early_events: dict[str, list[tuple[float, EventSnapshot]]] = {}
        self.unconfirmed_deletions: dict[str, JobSnapshot] = {}
        self.ended_pods: OrderedDict[str, tuple[PodSnapshot, ...]] = OrderedDict()
        self.outage_until_s: float | None = None

    def take(self, changes: Iterable[kube.Change]) -> Due:
        """Record what came together, Jobs that follow each other and Events in one transaction each."""
        self.fence()
        due = Due()
        jobs: list[JobSnapshot] = []
        events: list[kube.EventSeen] = []
        for change in changes:
            match change:
                case kube.JobChanged():
                    jobs.append(change.snapshot)
                case kube.EventSeen():
                    events.append(change)
                case _:
                    self._take_jobs(jobs, due)
                    jobs.clear()
                    self._take_alone(change, due)
        self._take_jobs(jobs, due)
        self._take_events(events)
        return due

    def _take_jobs(self, jobs: Iterable[JobSnapshot], due: Due) -> None:
        # Looking once more is a call to the cluster: not within the transaction.
        looked_at = [self._with_evidence(job) for job in jobs]
        due.logs |= record.apply_all(looked_at, source="watch", fence=self.fence)
        for job in jobs:
            self._remember(job)

    def _take_events(self, events: Sequence[kube.EventSeen]) -> None:
        if events:
            with transaction.atomic():
                self.fence()
                for seen in events:
                    self._place(seen)

    def _take_alone(self, change: kube.Change, due: Due) -> None:
        match change:
            case kube.Listed():
                newest = Build.objects.aggregate(newest=Max("pk"))["newest"] or 0
                listed = take_list(
                    self.cluster,
                    self.namespace,
                    change.version,
                    change.jobs,
                    first_seen_up_to=newest,
                    asked_at=change.asked_at,
                    fence=self.fence,
                    then=self._remember,
                )
                due.logs |= listed.logs
                due.cancellations |= listed.cancellations
            case kube.JobGone():
                self._take_jobs([change.snapshot], due)
                self._deleted(change.snapshot, due)
            case kube.PodGone():
                if change.left == 0:
                    record.pods_gone(change.job_uid)
            case kube.Trouble():
                self._note_trouble(change)
            case kube.Heartbeat():
                self._beat(due, change)

    def _note_trouble(self, trouble: kube.Trouble) -> None:
        """One line in the log per outage: it is tried again for as long as it takes, and by all watches."""
        is_new = self.outage_until_s is None
        self.outage_until_s = time.monotonic() + trouble.retry_in_s + _QUIET_S
        if is_new:
            log.warning(
                "watch in trouble", namespace=self.namespace, what=trouble.what, error=str(trouble.error)
            )
        note_outage(self.namespace, trouble.error, is_new=is_new)

    def _beat(self, due: Due, beat: kube.Heartbeat) -> None:
        if beat.connected:
            _note_life(self.namespace)
        if beat.complete and self.outage_until_s is not None and time.monotonic() >= self.outage_until_s:
            self.outage_until_s = None
            log.info("watch is back", namespace=self.namespace)
        for job in list(self.unconfirmed_deletions.values()):
            self._deleted(job, due)
        oldest = time.monotonic() - _EVENT_PATIENCE_S
        self.early_events = {
            uid: waiting for uid, waiting in self.early_events.items() if waiting[-1][0] > oldest
        }

    def _deleted(self, job: JobSnapshot, due: Due) -> None:
        """A DELETED event may mean that the Job no longer matches the selector: only a GET tells."""
        build = Build.objects.get(uid=job.uid)
        if _confirm_gone(self.cluster, build, due, was_seen=True, source="watch"):
            self.unconfirmed_deletions.pop(job.uid, None)
        else:
            self.unconfirmed_deletions[job.uid] = job

    def _with_evidence(self, job: JobSnapshot) -> JobSnapshot:
        """The Job's end may overtake its pod's, or come after the pod has gone: before a reason is final, add
        what was seen before, and look once more.
        """
        has_evidence = facts.has_evidence(job)
        if not facts.is_decided(job):
            if has_evidence:
                self.ended_pods[job.uid] = job.pods
                if len(self.ended_pods) > _REMEMBERED_ENDS:
                    self.ended_pods.popitem(last=False)
            return job
        seen_before = self.ended_pods.pop(job.uid, ())
        if has_evidence:
            return job
        # A pod that is gone by now keeps its last state as evidence.
        pods = {pod.uid: pod for pod in (*seen_before, *job.pods)}
        try:
            again = self.cluster.get(job.namespace, job.name)
        except ClusterError as error:
            note_failure(self.namespace, error)
            return job.with_pods(pods.values())
        if again is None or again.uid != job.uid:
            return job.with_pods(pods.values())
        return again.with_pods((pods | {pod.uid: pod for pod in again.pods}).values())

    def _remember(self, job: JobSnapshot) -> None:
        """Whose pods these are, for Events that come after them; and place the Events that came before."""
        for pod in job.pods:
            self.job_of_pod[pod.uid] = job.uid
            self.job_of_pod.move_to_end(pod.uid)
        while len(self.job_of_pod) > _REMEMBERED_PODS:
            self.job_of_pod.popitem(last=False)
        for uid in (job.uid, *(pod.uid for pod in job.pods)):
            for _, event in self.early_events.pop(uid, ()):
                record.note(event, job_uid=job.uid)

    def _place(self, seen: kube.EventSeen) -> None:
        """Keep the Event with its build, or until its build is there: it may overtake its Job, or its pod."""
        involved_uid = seen.event.involved_uid or ""
        job_uid = seen.job_uid or self.job_of_pod.get(involved_uid)
        if job_uid is None or not record.note(seen.event, job_uid=job_uid):
            self.early_events.setdefault(involved_uid, []).append((time.monotonic(), seen.event))
