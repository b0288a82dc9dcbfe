"""The three resources that are listed and watched: where they live and how their JSON becomes snapshots; no
I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from builds.kube.errors import Call, Malformed
from builds.kube.objects import Event, Job, Page, Pod
from builds.kube.reading import Incomplete, event_snapshot, job_snapshot, pod_snapshot
from builds.kube.snapshot import EventSnapshot, JobSnapshot, PodSnapshot

S = TypeVar("S", JobSnapshot, PodSnapshot, EventSnapshot)
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Resource(Generic[S]):
    """One resource type of the API, with everything that differs between the three."""

    name: str
    root: str
    one: "msgspec.json.Decoder[Any]"
    page: "msgspec.json.Decoder[Page[Any]]"
    snapshot: Callable[[Any], S]

    def path(self, namespace: str, name: str | None = None) -> str:
        """The path of the collection, or of one object; names are quoted."""
        collection = f"{self.root}/namespaces/{quote(namespace, safe='')}/{self.name}"
        return collection if name is None else f"{collection}/{quote(name, safe='')}"

    def snapshot_of(self, call: Call, raw: bytes | msgspec.Raw) -> S:
        """The snapshot of one object's JSON; raises Malformed."""
        found = decode(call, self.one, raw)
        try:
            return self.snapshot(found)
        except Incomplete as error:
            raise Malformed(f"cannot {call}: {error}") from error


def decode(call: Call, decoder: "msgspec.json.Decoder[D]", raw: bytes | msgspec.Raw) -> D:
    """Raises Malformed, whose message names the field but not its content."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(
            f"cannot {call}: the answer is not what the Kubernetes API sends ({error})"
        ) from error


JOBS: Resource[JobSnapshot] = Resource(
    "jobs",
    "/apis/batch/v1",
    msgspec.json.Decoder(Job),
    msgspec.json.Decoder(Page[Job]),
    job_snapshot,
)
PODS: Resource[PodSnapshot] = Resource(
    "pods",
    "/api/v1",
    msgspec.json.Decoder(Pod),
    msgspec.json.Decoder(Page[Pod]),
    pod_snapshot,
)
EVENTS: Resource[EventSnapshot] = Resource(
    "events",
    "/api/v1",
    msgspec.json.Decoder(Event),
    msgspec.json.Decoder(Page[Event]),
    event_snapshot,
)
