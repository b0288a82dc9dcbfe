"""Writes Events as scheduler, kubelet and job controller word them, and forgets old ones; no more."""

import uuid

from devcluster import clock
from devcluster.objects import Obj, name_of, namespace_of, uid_of
from devcluster.resources import STORED
from devcluster.store import Store

KEPT_S = 3600.0
NODE = "fake-node"


class Recorder:
    def __init__(self, store: Store, timers: clock.Timers) -> None:
        self._store = store
        self._timers = timers
        # What the kubelet says again raises a count: (uid, reason, message) -> name of the Event.
        self._repeats: dict[tuple[str, str, str], str] = {}

    def start(self) -> None:
        self._forget_old()

    def job(self, job: Obj, reason: str, message: str, type_: str = "Normal") -> None:
        source = {"component": "job-controller"}
        self._create(job, "jobs", reason, message, type_, clock.now(), source, "job-controller", "")

    def kubelet(
        self, pod: Obj, reason: str, message: str, at: float, type_: str = "Normal", container: str = ""
    ) -> None:
        path = f"spec.containers{{{container}}}" if container else ""
        source = {"component": "kubelet", "host": NODE}
        self._create(pod, "pods", reason, message, type_, at, source, "kubelet", NODE, path)

    def kubelet_again(
        self, pod: Obj, reason: str, message: str, at: float, type_: str = "Warning", container: str = ""
    ) -> None:
        """The first time an Event, then its count."""
        key = (uid_of(pod), reason, message)
        event = self._store.get("events", namespace_of(pod), self._repeats.get(key, ""))
        if event is None:
            self.kubelet(pod, reason, message, at, type_, container)
            self._repeats[key] = self._last_name
        else:
            changed = {"count": event.get("count", 1) + 1, "lastTimestamp": clock.stamp(at)}
            self._store.update("events", {**event, **changed})

    def scheduler(
        self, pod: Obj, reason: str, action: str, message: str, at: float, type_: str = "Normal"
    ) -> None:
        event = self._envelope(pod, "pods", at)
        event |= {
            "reason": reason,
            "message": message,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": type_,
            "eventTime": clock.stamp_micro(at),
            "action": action,
            "reportingComponent": "default-scheduler",
            "reportingInstance": f"default-scheduler-{NODE}",
        }
        self._store.create("events", event)

    def _create(
        self,
        about: Obj,
        resource: str,
        reason: str,
        message: str,
        type_: str,
        at: float,
        source: dict[str, str],
        component: str,
        instance: str,
        field_path: str = "",
    ) -> None:
        event = self._envelope(about, resource, at, field_path)
        event |= {
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": clock.stamp(at),
            "lastTimestamp": clock.stamp(at),
            "count": 1,
            "type": type_,
            "eventTime": None,
            "reportingComponent": component,
            "reportingInstance": instance,
        }
        self._store.create("events", event)

    def _envelope(self, about: Obj, resource: str, at: float, field_path: str = "") -> Obj:
        nanoseconds = int(at * 1e9)
        name = f"{name_of(about)}.{nanoseconds:x}"
        while self._store.get("events", namespace_of(about), name) is not None:
            nanoseconds += 1
            name = f"{name_of(about)}.{nanoseconds:x}"
        self._last_name = name
        involved = {
            "kind": STORED[resource].kind,
            "namespace": namespace_of(about),
            "name": name_of(about),
            "uid": uid_of(about),
            "apiVersion": STORED[resource].api_version,
            "resourceVersion": about["metadata"]["resourceVersion"],
        }
        if field_path:
            involved["fieldPath"] = field_path
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace_of(about),
                "uid": str(uuid.uuid4()),
                "creationTimestamp": clock.stamp(clock.now()),
            },
            "involvedObject": involved,
        }

    def _forget_old(self) -> None:
        oldest = clock.stamp(clock.now() - KEPT_S)
        for event in self._store.items("events"):
            last = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            if last < oldest:
                self._store.remove("events", event)
        names = {name_of(event) for event in self._store.items("events")}
        self._repeats = {key: name for key, name in self._repeats.items() if name in names}
        self._timers.set("events: forget", clock.now() + 60, self._forget_old)
