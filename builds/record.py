"""What was seen of the cluster -> rows: a snapshot, a Job's absence, an Event; makes no cluster call itself.

Level-triggered: snapshots may repeat, skip or come late, and in any order from several processes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from builds import facts
from builds.facts import Facts
from builds.kube import EventSnapshot, JobSnapshot
from builds.models import Build, BuildEvent, BuildLog, Cancellation, OutgoingEvent
from builds.states import FINISHED, Reason, Status

_PODS_KEPT = 50


# Called within a transaction, before something is written in it: raises to prevent it.
Fence = Callable[[], None]


def no_fence() -> None:
    """Writes are conditional: any number of processes may record the same."""


def apply(snapshot: JobSnapshot, *, source: str, known: Build | None = None) -> Build:
    """Bring the build of this Job up to the snapshot, creating it at first sight.

    `known` spares the query for the row (it may be out of date). An unchanged snapshot writes nothing. The
    log of a build that ends here falls due in the same transaction.
    """
    seen = facts.read(snapshot)
    build = known or Build.objects.filter(uid=snapshot.uid).first()
    if build is None:
        build = _first_sights([(snapshot, seen)], source=source).get(snapshot.uid)
        if build is not None:
            return build
        # Another process saw it at the same moment.
        build = Build.objects.get(uid=snapshot.uid)
    if _is_news(build, snapshot, seen):
        with transaction.atomic():
            history = _History()
            _bring_up(build, snapshot, seen, history, source=source)
            history.write()
    return build


class _History:
    """What the steps of one transaction leave behind, written together, a build's before its next step."""

    def __init__(self) -> None:
        self._steps: dict[int, tuple[Build, BuildEvent]] = {}

    def make_room(self, build: Build) -> None:
        """To be called before a step: what goes out tells of the build as it was after the last one."""
        if build.pk in self._steps:
            self.write()

    def add(self, build: Build, event: BuildEvent) -> None:
        self._steps[build.pk] = (build, event)

    def write(self) -> None:
        if not self._steps:
            return
        steps = list(self._steps.values())
        self._steps.clear()
        BuildEvent.objects.bulk_create([event for _, event in steps])
        for build, event in steps:
            OutgoingEvent.announce(build, event)
        ended = [build for build, _ in steps if build.is_finished]
        if ended:
            _logs_fall_due(ended, datetime.now(UTC))


def apply_all(snapshots: Sequence[JobSnapshot], *, source: str, fence: Fence = no_fence) -> set[int]:
    """`apply` for many, one after the other, in one transaction; the ids of the builds that ended here.

    Costs one query for all that is unchanged; then nothing is written, and no transaction opened.
    """
    builds = {str(one.uid): one for one in Build.objects.filter(uid__in={one.uid for one in snapshots})}
    news = _news(snapshots, builds)
    if not news:
        return set()
    was_finished = {uid for uid, build in builds.items() if build.is_finished}
    with transaction.atomic():
        fence()
        first: dict[str, tuple[JobSnapshot, Facts]] = {}
        for snapshot, seen in news:
            if snapshot.uid not in builds:
                first.setdefault(snapshot.uid, (snapshot, seen))
        if first:
            builds |= _first_sights(list(first.values()), source=source)
        history = _History()
        for snapshot, seen in news:
            build = builds.get(snapshot.uid)
            if build is None:
                builds[snapshot.uid] = apply(snapshot, source=source)
            else:
                _bring_up(build, snapshot, seen, history, source=source)
        history.write()
    return {build.pk for uid, build in builds.items() if build.is_finished and uid not in was_finished}


def _news(snapshots: Iterable[JobSnapshot], builds: Mapping[str, Build]) -> list[tuple[JobSnapshot, Facts]]:
    """Those with something to write, in their order; behind the first one of a Job also all others of it."""
    news: list[tuple[JobSnapshot, Facts]] = []
    has_news: set[str] = set()
    for snapshot in snapshots:
        seen = facts.read(snapshot)
        build = builds.get(snapshot.uid)
        if snapshot.uid in has_news or build is None or _is_news(build, snapshot, seen):
            has_news.add(snapshot.uid)
            news.append((snapshot, seen))
    return news


def _is_news(build: Build, snapshot: JobSnapshot, seen: Facts) -> bool:
    """Whether there may be something to write; never False when there is."""
    if snapshot.version < build.observed_version:
        return False
    return (
        _moves(build, seen)
        or bool(_details(build, snapshot, seen))
        or (snapshot.version != build.observed_version and bool(_label_edits(build, seen)))
    )


def _moves(build: Build, seen: Facts) -> bool:
    """Whether the facts are a step from the build's state, or another reason for it."""
    if build.is_finished:
        return False
    if build.status == Status.CANCELLING:
        return seen.status in FINISHED
    if seen.status == build.status:
        return build.status_reason != _kept_reason(build, seen)
    return seen.status in FINISHED or seen.status == Status.RUNNING


def _bring_up(build: Build, snapshot: JobSnapshot, seen: Facts, history: _History, *, source: str) -> None:
    if snapshot.version < build.observed_version:
        return
    _note_label_edits(build, seen, snapshot, source=source)
    while not _advance(build, snapshot, seen, history, source=source):
        # Another process changed the row since it was read; `build` is fresh now, and the states have no
        # cycle, so this ends.
        if snapshot.version < build.observed_version:
            return


def _first_sights(sights: Sequence[tuple[JobSnapshot, Facts]], *, source: str) -> dict[str, Build]:
    """New builds by uid, in few statements for any number; none at all if another process has one of them."""
    now = datetime.now(UTC)
    builds = [_new_build(snapshot, seen, now) for snapshot, seen in sights]
    try:
        with transaction.atomic():
            Build.objects.bulk_create(builds)
            events = BuildEvent.objects.bulk_create([_first_event(build, now, source) for build in builds])
            _logs_fall_due([build for build in builds if build.is_finished], now)
            for build, event in zip(builds, events, strict=True):
                if not build.is_finished:
                    OutgoingEvent.announce(build, event)
    except IntegrityError:
        return {}
    return {str(build.uid): build for build in builds}


def _new_build(snapshot: JobSnapshot, seen: Facts, now: datetime) -> Build:
    return Build(
        namespace=snapshot.namespace,
        name=snapshot.name,
        uid=snapshot.uid,
        third_party_id=seen.third_party_id,
        parser_id=seen.parser_id,
        image_uri=seen.image_uri,
        build_container=seen.build_container,
        correlation_id=seen.correlation_id,
        status=seen.status,
        status_reason=seen.reason,
        created_at=snapshot.created_at,
        completed_at=(seen.completed_at or now) if seen.status in FINISHED else None,
        started_at=seen.started_at,
        job=seen.job,
        observed_at=now,
        observed_version=snapshot.version,
        **_failure_columns(seen),
    )


def _first_event(build: Build, now: datetime, source: str) -> BuildEvent:
    return BuildEvent(
        build=build,
        type=BuildEvent.Type.TRANSITION,
        reason=build.status,
        message="First seen",
        source=source,
        to_status=build.status,
        timestamp=now,
        correlation_id=build.correlation_id,
    )


def _advance(build: Build, snapshot: JobSnapshot, seen: Facts, history: _History, *, source: str) -> bool:
    """One step towards the facts. False if the row had changed meanwhile: look again."""
    details = _details(build, snapshot, seen)
    origin = Status(build.status)
    if origin in FINISHED or (origin == Status.CANCELLING and seen.status not in FINISHED):
        return _update(build, details)
    if seen.status in FINISHED:
        details |= {"completed_at": seen.completed_at or datetime.now(UTC), **_failure_columns(seen)}
    elif origin != Status.PENDING or seen.status != Status.RUNNING:
        if seen.status == origin and build.status_reason != _kept_reason(build, seen):
            details["status_reason"] = _kept_reason(build, seen)
        return _update(build, details)
    history.make_room(build)
    message = seen.failure.message if seen.failure else ""
    event = build.step_to(seen.status, source=source, reason=seen.reason, message=message, **details)
    if event is not None:
        history.add(build, event)
    return event is not None


def _kept_reason(build: Build, seen: Facts) -> Reason | str | None:
    """A volume that cannot be mounted shows in an Event alone: the pod goes on looking as if it pulled."""
    if build.status_reason == Reason.CONFIG_ERROR and seen.reason == Reason.PULLING:
        return build.status_reason
    return seen.reason


def _details(build: Build, snapshot: JobSnapshot, seen: Facts) -> dict[str, Any]:
    """The columns beside the state that the snapshot changes; empty if there is nothing new."""
    changes: dict[str, Any] = {}
    if build.started_at is None and seen.started_at is not None:
        changes["started_at"] = seen.started_at
    if build.image_uri is None and seen.image_uri is not None:
        changes["image_uri"] = seen.image_uri
    if build.missing_since is not None:
        changes["missing_since"] = None
    if build.status == Status.SUCCEEDED and snapshot.completed_at not in (None, build.completed_at):
        # SuccessCriteriaMet comes before the Job's completionTime, which is the one that counts.
        changes["completed_at"] = snapshot.completed_at
    job = _with_gone_pods(build, seen.job)
    if build.job != job and build.gone_at is None:
        changes |= {"job": job, "observed_at": datetime.now(UTC), "observed_version": snapshot.version}
    return changes


def _with_gone_pods(build: Build, job: dict[str, Any]) -> dict[str, Any]:
    """The Job as seen now, and its pods that were seen before as they were last: they are evidence."""
    names = {pod["name"] for pod in job["pods"]}
    gone = [pod | {"gone": True} for pod in (build.job or {"pods": []})["pods"] if pod["name"] not in names]
    return job | {"pods": (gone + job["pods"])[-_PODS_KEPT:]}


def _update(build: Build, changes: dict[str, Any]) -> bool:
    if not changes:
        return True
    updated = Build.objects.filter(pk=build.pk, status=build.status).update(
        **changes, version=F("version") + 1
    )
    if updated:
        for name, value in changes.items():
            setattr(build, name, value)
    else:
        build.refresh_from_db()
    return bool(updated)


def _failure_columns(seen: Facts) -> dict[str, Any]:
    why = seen.failure
    if why is None:
        return {}
    return {
        "error_code": why.code,
        "error_message": why.message,
        "error_container": why.container,
        "error_exit_code": why.exit_code,
    }


def _logs_fall_due(builds: Iterable[Build], at: datetime) -> None:
    """One statement, whether or not there is a row already."""
    BuildLog.objects.bulk_create(
        [BuildLog(build=build, next_try_at=at) for build in builds],
        update_conflicts=True,
        unique_fields=["build"],
        update_fields=["next_try_at"],
    )


def _note_label_edits(build: Build, seen: Facts, snapshot: JobSnapshot, *, source: str) -> None:
    """Customer and parser stay as first seen; that somebody changed the labels is history."""
    if snapshot.version == build.observed_version:
        return
    message = _label_edits(build, seen)
    if not message:
        return
    last = build.events.filter(reason="LabelsChanged").last()
    if last is None or last.message != message:
        _note_change(build, "LabelsChanged", message, source=source)


def _label_edits(build: Build, seen: Facts) -> str:
    """In words; empty if there are none."""
    return "; ".join(
        f"{what} label is now {now!r}, recorded as {then!r}"
        for what, then, now in (
            ("customer", build.third_party_id, seen.third_party_id),
            ("parser", build.parser_id, seen.parser_id),
        )
        if then != now
    )


def _note_change(build: Build, reason: str, message: str, *, source: str) -> None:
    BuildEvent.objects.create(
        build=build,
        type=BuildEvent.Type.CHANGE,
        reason=reason,
        message=message,
        source=source,
        timestamp=datetime.now(UTC),
        correlation_id=build.correlation_id,
    )


def vanished(build: Build, *, was_seen: bool, source: str) -> bool:
    """The build's Job is known to be gone: by somebody's deletion that was seen, or without a trace.

    A finished build keeps its outcome. Of one that is being cancelled nothing is concluded here: True says
    that its cancellation has to look (it alone knows whether the deletion was its own).
    """
    now = datetime.now(UTC)
    while not build.is_finished:
        if build.status == Status.CANCELLING:
            return True
        reason, words = (
            (Reason.DELETED, "The Job was deleted in the cluster before it finished")
            if was_seen
            else (Reason.LOST, "The Job disappeared from the cluster while nobody was watching")
        )
        with transaction.atomic():
            event = build.move_to(
                Status.FAILED,
                source=source,
                reason=reason,
                message=words,
                completed_at=now,
                gone_at=now,
                error_code=f"job_{reason.value}",
                error_message=words,
            )
            if event is not None:
                _logs_fall_due([build], now)
                return False
    Build.objects.filter(pk=build.pk, gone_at__isnull=True).update(gone_at=now, missing_since=None)
    return False


def pods_gone(job_uid: str) -> None:
    """No pod of a Job that is gone is left: if it was cancelled, its cleanup is complete."""
    Cancellation.objects.filter(build__uid=job_uid, pods_outcome=Cancellation.PodsOutcome.TERMINATING).update(
        pods_outcome=Cancellation.PodsOutcome.GONE, next_look_at=None
    )


def note(event: EventSnapshot, *, job_uid: str) -> bool:
    """Keep a cluster's Event with its build; a repeat raises the count. False if the build is unknown."""
    build = Build.objects.filter(uid=job_uid).only("pk", "status", "correlation_id").first()
    if build is None:
        return False
    values = {
        "count": event.count,
        "timestamp": event.last_at,
        "message": facts.storable(event.message)[: facts.MESSAGE_LIMIT_CHARS],
    }
    kept, is_new = BuildEvent.objects.get_or_create(
        build=build,
        cluster_uid=event.uid,
        defaults=values
        | {
            "type": BuildEvent.Type.WARNING if event.type == "Warning" else BuildEvent.Type.NORMAL,
            "reason": event.reason[:128],
            "source": event.source[:128],
            "correlation_id": build.correlation_id,
        },
    )
    if not is_new and (kept.count, kept.timestamp) < (event.count, event.last_at):
        BuildEvent.objects.filter(pk=kept.pk, count__lte=event.count).update(**values)
    if event.reason in ("FailedMount", "FailedAttachVolume"):
        Build.objects.filter(pk=build.pk, status=Status.PENDING, status_reason=Reason.PULLING).update(
            status_reason=Reason.CONFIG_ERROR, version=F("version") + 1
        )
    return True
