"""The parts of the stand-in put together over one journal; no HTTP."""

import uuid
from dataclasses import dataclass

from devcluster import admission, clock
from devcluster.deletion import Deletion
from devcluster.events import NODE, Recorder
from devcluster.jobs import JobController
from devcluster.journal import Journal
from devcluster.objects import Obj
from devcluster.pods import Kubelet
from devcluster.podstatus import NODE_IP
from devcluster.store import Store

FIRST_NAMESPACES = ("kube-system", "default", "builds", "knative-lambda")


@dataclass(frozen=True)
class Cluster:
    store: Store
    journal: Journal
    timers: clock.Timers
    kubelet: Kubelet
    deletion: Deletion
    recorder: Recorder
    controller: JobController

    def start(self) -> None:
        """Takes everything up where the state folder left it; needs a running event loop."""
        self.recorder.start()
        self.kubelet.start()
        self.controller.start()
        self.deletion.start()


def assemble(journal: Journal) -> Cluster:
    """Reads what the journal keeps, and furnishes a new cluster with namespaces and a node."""
    store = Store(journal)
    if not store.items("namespaces"):
        for name in FIRST_NAMESPACES:
            store.create("namespaces", admission.namespace_named(name))
        store.create("nodes", _node())
    timers = clock.Timers()
    recorder = Recorder(store, timers)
    deletion = Deletion(store)
    kubelet = Kubelet(store, journal, timers, recorder, deletion)
    controller = JobController(store, timers, recorder, deletion)
    return Cluster(store, journal, timers, kubelet, deletion, recorder, controller)


def _node() -> Obj:
    now = clock.stamp(clock.now())
    capacity = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}
    ready = {
        "type": "Ready",
        "status": "True",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
        "reason": "KubeletReady",
        "message": "played by devcluster: no container runs here",
    }
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": NODE,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"},
        },
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": NODE_IP}, {"type": "Hostname", "address": NODE}],
            "nodeInfo": {"kubeletVersion": "v1.36.2-standin", "osImage": "none", "architecture": "amd64"},
        },
    }
