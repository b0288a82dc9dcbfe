"""From what came over the wire to snapshots: absent becomes None, 0 or empty, times and names are made sure
of; no I/O.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from builds.kube.objects import (
    ConditionWire,
    ContainerStatus,
    Event,
    Job,
    ListMeta,
    Meta,
    Pod,
    Series,
    StateDetail,
    StateWire,
)
from builds.kube.snapshot import (
    Condition,
    ContainerSnapshot,
    ContainerSpec,
    ContainerState,
    EventSnapshot,
    JobSnapshot,
    PodSnapshot,
)

CONTROLLER_UID_LABEL = "batch.kubernetes.io/controller-uid"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Incomplete(ValueError):
    """An object without what every stored object has: name, uid, creation time."""


def job_snapshot(job: Job, pods: Iterable[PodSnapshot] = ()) -> JobSnapshot:
    """Raises Incomplete for an object that no API server stores."""
    meta, status = job.metadata, job.status
    name, uid, created_at = _identity(meta)
    template = job.spec.template.spec if job.spec.template is not None else None
    return JobSnapshot(
        namespace=meta.namespace or "",
        name=name,
        uid=uid,
        version=version_of(meta),
        created_at=created_at,
        deleting_at=meta.deletion_timestamp,
        labels=_mapping(meta.labels),
        annotations=_mapping(meta.annotations),
        suspended=bool(job.spec.suspend),
        active=status.active or 0,
        succeeded=status.succeeded or 0,
        failed=status.failed or 0,
        started_at=_time(status.start_time),
        completed_at=_time(status.completion_time),
        conditions=_conditions(status.conditions),
        containers=tuple(
            ContainerSpec(one.name, one.image, one.args or (), one.command or ())
            for one in (template.containers if template is not None else None) or ()
        ),
        pods=(),
    ).with_pods(pods)


def pod_snapshot(pod: Pod) -> PodSnapshot:
    """Raises Incomplete for an object that no API server stores."""
    meta, status = pod.metadata, pod.status
    name, uid, created_at = _identity(meta)
    return PodSnapshot(
        name=name,
        uid=uid,
        version=version_of(meta),
        phase=status.phase,
        node=pod.spec.node_name or None,
        reason=status.reason or None,
        message=status.message or None,
        created_at=created_at,
        deleting_at=meta.deletion_timestamp,
        conditions=_conditions(status.conditions),
        containers=tuple(_container(one) for one in status.container_statuses or ()),
        init_containers=tuple(_container(one) for one in status.init_container_statuses or ()),
        job_uid=(meta.labels or {}).get(CONTROLLER_UID_LABEL),
    )


def event_snapshot(event: Event) -> EventSnapshot:
    """The scheduler sets eventTime and leaves the rest null, controllers the reverse: the first that is set
    counts.
    """
    meta, series = event.metadata, event.series or Series()
    _, uid, created_at = _identity(meta)
    first_at = _time(event.first_timestamp) or _time(event.event_time) or created_at
    last_at = _time(series.last_observed_time) or _time(event.last_timestamp) or first_at
    source = event.source.component if event.source is not None else None
    return EventSnapshot(
        uid=uid,
        namespace=meta.namespace or "",
        version=version_of(meta),
        involved_kind=event.involved_object.kind or "",
        involved_name=event.involved_object.name or "",
        involved_uid=event.involved_object.uid or None,
        type=event.type or "Normal",
        reason=event.reason or "",
        message=event.message or "",
        source=event.reporting_component or source or "",
        count=series.count or event.count or 1,
        first_at=first_at,
        last_at=max(first_at, last_at),
    )


def version_of(meta: Meta | ListMeta) -> int:
    """The resourceVersion as an integer; Incomplete if there is none."""
    try:
        return int(meta.resource_version or "")
    except ValueError:
        raise Incomplete(f"resourceVersion {meta.resource_version!r} is not a number") from None


def _identity(meta: Meta) -> tuple[str, str, datetime]:
    if not meta.name or not meta.uid or meta.creation_timestamp is None:
        raise Incomplete("an object has no name, uid or creationTimestamp")
    return meta.name, meta.uid, meta.creation_timestamp


def _container(status: ContainerStatus) -> ContainerSnapshot:
    name, detail = _state(status.state)
    last = (status.last_state or StateWire()).terminated or StateDetail()
    starts = [at for at in (_time(last.started_at), _time(detail.started_at)) if at is not None]
    return ContainerSnapshot(
        name=status.name,
        state=name,
        reason=detail.reason or None,
        message=detail.message or None,
        exit_code=detail.exit_code,
        started_at=_time(detail.started_at),
        finished_at=_time(detail.finished_at),
        restarts=status.restart_count or 0,
        first_started_at=min(starts, default=None),
        last_reason=last.reason or None,
        last_exit_code=last.exit_code,
    )


def _state(state: StateWire | None) -> tuple[ContainerState | None, StateDetail]:
    if state is not None:
        if state.terminated is not None:
            return "terminated", state.terminated
        if state.running is not None:
            return "running", state.running
        if state.waiting is not None:
            return "waiting", state.waiting
    return None, StateDetail()


def _conditions(conditions: tuple[ConditionWire, ...] | None) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            one.type, one.status == "True", one.reason or None, one.message or None, one.last_transition_time
        )
        for one in conditions or ()
    )


def _time(at: datetime | None) -> datetime | None:
    """None for the runtime's "never": one that could not be started is reported as started in 1970."""
    return at if at is not None and at > EPOCH else None


def _mapping(found: dict[str, str] | None) -> Mapping[str, str]:
    return found if found is not None else {}
