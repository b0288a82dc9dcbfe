"""What was seen of the cluster, as frozen values that travel to every other room; no I/O, no knowledge of the
wire.

Versions are resourceVersions as integers: comparable within one resource type since Kubernetes 1.35
(https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), and so in practice before
it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

ContainerState = Literal["waiting", "running", "terminated"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a Job or Pod; `status` is True only for "True" (a resumed Job keeps `Suspended`, as
    False).
    """

    type: str
    status: bool
    reason: str | None
    message: str | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ContainerSnapshot:
    """One container of a pod. `state` is None until the kubelet has reported it."""

    name: str
    state: ContainerState | None
    reason: str | None
    message: str | None
    exit_code: int | None
    started_at: datetime | None
    """Of the run that is going on or has ended last; None while waiting."""
    finished_at: datetime | None
    restarts: int
    first_started_at: datetime | None
    """The earliest start that is still visible (the last run and this one); None if it never started."""
    last_reason: str | None
    last_exit_code: int | None


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """A pod. `deleting_at` lies in the future while the grace period runs."""

    name: str
    uid: str
    version: int
    phase: str | None
    node: str | None
    reason: str | None
    message: str | None
    created_at: datetime
    deleting_at: datetime | None
    conditions: tuple[Condition, ...]
    containers: tuple[ContainerSnapshot, ...]
    init_containers: tuple[ContainerSnapshot, ...]
    job_uid: str | None
    """From the label `batch.kubernetes.io/controller-uid`; it stays when a delete orphans the pod."""

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type if it holds, else None."""
        return _holding(self.conditions, kind)


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """An app container as the Job's template asks for it."""

    name: str
    image: str | None
    args: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A Job and its pods as seen together; counters are 0 where the API leaves them out."""

    namespace: str
    name: str
    uid: str
    version: int
    created_at: datetime
    deleting_at: datetime | None
    labels: Mapping[str, str] = field(hash=False)
    annotations: Mapping[str, str] = field(hash=False)
    suspended: bool
    """What the spec asks for; the condition `Suspended` says when it has been done."""
    active: int
    succeeded: int
    failed: int
    started_at: datetime | None
    """startTime: removed by suspending, set anew by resuming."""
    completed_at: datetime | None
    """completionTime: successful Jobs only."""
    conditions: tuple[Condition, ...]
    containers: tuple[ContainerSpec, ...]
    pods: tuple[PodSnapshot, ...]
    """Ordered by (created_at, name)."""
    pods_version: int = 0
    """Of the last removal of one of its pods that was seen by a watch; 0 if none was."""

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type if it holds, else None."""
        return _holding(self.conditions, kind)

    def with_pods(self, pods: Iterable[PodSnapshot]) -> "JobSnapshot":
        """The same Job with these pods instead of its own, put in order."""
        return replace(self, pods=tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name))))

    @property
    def version_seen(self) -> int:
        """The newest version among the Job, its pods and their removal: grows with every change seen."""
        return max([self.version, self.pods_version, *(pod.version for pod in self.pods)])


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """A core/v1 Event; repeats raise `count` and `last_at` of the same uid, they are no new events."""

    uid: str
    namespace: str
    version: int
    involved_kind: str
    involved_name: str
    involved_uid: str | None
    type: str
    """"Normal" or "Warning"; the API does not refuse other words."""
    reason: str
    message: str
    source: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A complete list of one resource type; a watch from `version` continues it."""

    version: int
    items: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class PageOf(Generic[T]):
    """A part of a list as of `version`. With `is_first` the list begins (again: what came before counts for
    nothing), and only with `is_last` it is complete.
    """

    version: int
    items: tuple[T, ...]
    is_first: bool
    is_last: bool
    asked_at: datetime | None = field(default=None, compare=False)
    """When the list began: `version` is not below any that was seen before."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list of a namespace's Jobs that match the selector, with their pods, as of `version`.

    The Jobs may be made anew by each access: go through them once.
    """

    version: int
    jobs: Sequence[JobSnapshot]


def _holding(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    return next((one for one in conditions if one.type == kind and one.status), None)
