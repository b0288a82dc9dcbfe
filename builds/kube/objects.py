"""The few fields of Jobs, Pods and Events that are read from the wire, as typed structs; knows no snapshot.

Everything may be absent or null (https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/):
counters that are 0 are left out, a bookmark's object is a skeleton.
"""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Wire(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Base of what is decoded: unknown fields are skipped, nothing takes part in garbage collection."""


class Meta(Wire, frozen=True):
    """ObjectMeta."""

    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class ListMeta(Wire, frozen=True):
    """What a list says of itself; `continue_` is the token of the next page."""

    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class Page(Wire, Generic[T], frozen=True):
    """One page of a list."""

    metadata: ListMeta
    items: tuple[T, ...] | None = None


class WatchLine(Wire, frozen=True):
    """One line of a watch; what `object` is depends on `type`."""

    type: str
    object: msgspec.Raw


class Skeleton(Wire, frozen=True):
    """Any object of which only the metadata counts (BOOKMARK, Namespace)."""

    metadata: Meta = Meta()


class ConditionWire(Wire, frozen=True):
    """A condition of a Job or Pod."""

    type: str
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    last_transition_time: datetime | None = None


class ContainerWire(Wire, frozen=True):
    """A container as a pod template asks for it."""

    name: str
    image: str | None = None
    args: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None


class PodTemplateSpec(Wire, frozen=True):
    """`spec` of a pod template."""

    containers: tuple[ContainerWire, ...] | None = None


class PodTemplate(Wire, frozen=True):
    """A Job's `spec.template`."""

    spec: PodTemplateSpec | None = None


class JobSpec(Wire, frozen=True):
    """`spec` of a Job."""

    suspend: bool | None = None
    template: PodTemplate | None = None


class JobStatus(Wire, frozen=True):
    """`status` of a Job."""

    active: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    start_time: datetime | None = None
    completion_time: datetime | None = None
    conditions: tuple[ConditionWire, ...] | None = None


class Job(Wire, frozen=True):
    """batch/v1 Job."""

    metadata: Meta
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class StateDetail(Wire, frozen=True):
    """The content of one of `waiting`, `running`, `terminated`."""

    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class StateWire(Wire, frozen=True):
    """A container's `state` or `lastState`: at most one of the three is set."""

    waiting: StateDetail | None = None
    running: StateDetail | None = None
    terminated: StateDetail | None = None


class ContainerStatus(Wire, frozen=True):
    """An entry of `containerStatuses`."""

    name: str
    state: StateWire | None = None
    last_state: StateWire | None = None
    restart_count: int | None = None


class PodSpec(Wire, frozen=True):
    """`spec` of a Pod."""

    node_name: str | None = None


class PodStatus(Wire, frozen=True):
    """`status` of a Pod."""

    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    conditions: tuple[ConditionWire, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Wire, frozen=True):
    """v1 Pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Involved(Wire, frozen=True):
    """`involvedObject` of an Event."""

    kind: str | None = None
    name: str | None = None
    uid: str | None = None


class Source(Wire, frozen=True):
    """`source` of an Event."""

    component: str | None = None


class Series(Wire, frozen=True):
    """`series` of an Event written through events.k8s.io."""

    count: int | None = None
    last_observed_time: datetime | None = None


class Event(Wire, frozen=True):
    """v1 Event (events.k8s.io/v1 refuses null eventTime, which ordinary Job Events have)."""

    metadata: Meta
    involved_object: Involved = Involved()
    type: str | None = None
    reason: str | None = None
    message: str | None = None
    source: Source | None = None
    reporting_component: str | None = None
    count: int | None = None
    series: Series | None = None
    event_time: datetime | None = None
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
