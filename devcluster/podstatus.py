"""Renders a pod's status from what the played node remembers, in the kubelet's forms; changes nothing."""

import hashlib
from typing import Any

from devcluster import clock
from devcluster.objects import Obj, uid_of
from devcluster.podstates import PodState, Run

NODE_IP = "127.0.0.1"


def qos_class(spec: Obj) -> str:
    """Of the pod, by its requests and limits (Kubernetes: Pod Quality of Service Classes)."""
    resources = [c.get("resources") or {} for c in (*spec.get("initContainers", []), *spec["containers"])]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for entry in resources:
        limits, requests = entry.get("limits") or {}, entry.get("requests") or {}
        if not {"cpu", "memory"} <= limits.keys() or any(requests.get(k, v) != v for k, v in limits.items()):
            return "Burstable"
    return "Guaranteed"


def render(pod: Obj, state: PodState, at: float) -> Obj:
    """The whole status of a pod that has been bound to the node."""
    generation = pod["metadata"]["generation"]
    status: Obj = {"observedGeneration": generation, "phase": state.phase}
    status["conditions"] = _conditions(pod, state, generation, at)
    if state.message:
        status["message"] = state.message
    if state.reason:
        status["reason"] = state.reason
    status |= {"hostIP": NODE_IP, "hostIPs": [{"ip": NODE_IP}]}
    if state.runs:
        address = _pod_address(uid_of(pod))
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    status["startTime"] = clock.stamp(state.node_started_at or at)
    spec = pod["spec"]
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [_container(pod, state, c, True) for c in spec["initContainers"]]
    status["containerStatuses"] = [_container(pod, state, c, False) for c in spec["containers"]]
    status["qosClass"] = pod["status"]["qosClass"]
    return status


def scheduled_condition(at: float) -> Obj:
    return {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": clock.stamp(at),
    }


def unschedulable_condition(pod: Obj, message: str, at: float) -> Obj:
    return {
        "type": "PodScheduled",
        "observedGeneration": pod["metadata"]["generation"],
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": clock.stamp(at),
        "reason": "Unschedulable",
        "message": message,
    }


def _conditions(pod: Obj, state: PodState, generation: int, at: float) -> list[Obj]:
    before = {c["type"]: c for c in pod["status"].get("conditions") or []}
    wanted: list[Obj] = []
    if state.reason == "Evicted":
        wanted.append(_condition("DisruptionTarget", "True", "TerminationByKubelet", state.message))
    is_alive = bool(state.running() or state.restart_at) and state.phase in ("Pending", "Running")
    is_started = is_alive or any(w.reason.endswith(("ImagePull", "BackOff")) for w in state.waiting.values())
    wanted.append(_condition("PodReadyToStartContainers", "True" if is_started else "False"))
    wanted.append(_initialized(pod, state))
    wanted += _readiness(pod, state)
    wanted.append(_condition("PodScheduled", "True"))
    for entry in wanted:
        old = before.get(entry["type"])
        is_same = old is not None and old["status"] == entry["status"]
        entry["lastTransitionTime"] = old["lastTransitionTime"] if old and is_same else clock.stamp(at)
        if entry["type"] != "PodScheduled":
            entry["observedGeneration"] = generation
    return [_in_order(entry) for entry in wanted]


def _condition(type_: str, status: str, reason: str = "", message: str = "") -> Obj:
    entry: Obj = {"type": type_, "status": status, "lastProbeTime": None}
    if reason:
        entry["reason"] = reason
    if message:
        entry["message"] = message
    return entry


def _in_order(entry: Obj) -> Obj:
    names = (
        "type", "observedGeneration", "status", "lastProbeTime", "lastTransitionTime", "reason", "message"
    )  # fmt: skip
    return {name: entry[name] for name in names if name in entry}


def _initialized(pod: Obj, state: PodState) -> Obj:
    if state.phase == "Succeeded":
        return _condition("Initialized", "True", "PodCompleted")
    missing = [
        c["name"]
        for c in pod["spec"].get("initContainers", [])
        if not _is_complete(state.last_run(c["name"]))
    ]
    if not missing:
        return _condition("Initialized", "True")
    message = f"containers with incomplete status: [{' '.join(missing)}]"
    return _condition("Initialized", "False", "ContainersNotInitialized", message)


def _is_complete(run: Run | None) -> bool:
    return run is not None and run.stopped_at is not None and run.exit_code == 0


def _readiness(pod: Obj, state: PodState) -> list[Obj]:
    reason = message = ""
    running = {name for name, _ in state.running()}
    unready = [c["name"] for c in pod["spec"]["containers"] if c["name"] not in running]
    if state.phase == "Succeeded":
        reason = "PodCompleted"
    elif state.phase == "Failed":
        reason = "PodFailed"
    elif unready:
        reason = "ContainersNotReady"
        message = f"containers with unready status: [{' '.join(unready)}]"
    value = "False" if reason else "True"
    return [_condition(type_, value, reason, message) for type_ in ("Ready", "ContainersReady")]


def _container(pod: Obj, state: PodState, container: Obj, is_init: bool) -> Obj:
    name = str(container["name"])
    runs = state.runs.get(name, [])
    waiting = state.waiting.get(name)
    last: Obj = {}
    if waiting is not None:
        described = {"reason": waiting.reason, "message": waiting.message}
        current: Obj = {"waiting": {key: value for key, value in described.items() if value}}
        if runs:
            last = _terminated(pod, name, len(runs) - 1, runs[-1])
    elif not runs:
        is_initializing = bool(pod["spec"].get("initContainers"))
        current = {"waiting": {"reason": "PodInitializing" if is_initializing else "ContainerCreating"}}
    else:
        if len(runs) > 1:
            last = _terminated(pod, name, len(runs) - 2, runs[-2])
        if runs[-1].stopped_at is None:
            current = {"running": {"startedAt": clock.stamp(runs[-1].started_at)}}
        else:
            current = _terminated(pod, name, len(runs) - 1, runs[-1])
    is_running = "running" in current
    restarts = len(runs) if waiting is not None else max(0, len(runs) - 1)
    entry: Obj = {
        "name": name,
        "state": current,
        "lastState": last,
        "ready": is_running if not is_init else "terminated" in current and runs[-1].exit_code == 0,
        "restartCount": restarts,
        "image": container["image"],
        "imageID": image_id(str(container["image"])) if runs else "",
    }
    if runs:
        entry["containerID"] = _container_id(uid_of(pod), name, len(runs) - 1)
    entry["started"] = is_running
    if runs:
        entry |= _granted(container)
    return entry


def _granted(container: Obj) -> Obj:
    resources = container.get("resources") or {}
    granted: dict[str, Any] = {}
    if resources.get("requests"):
        granted["allocatedResources"] = resources["requests"]
    granted["resources"] = resources
    granted["user"] = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
    return granted


def _terminated(pod: Obj, name: str, index: int, run: Run) -> Obj:
    entry: Obj = {"exitCode": run.exit_code, "reason": run.reason}
    if run.message:
        entry["message"] = run.message
    entry["startedAt"] = clock.stamp(run.started_at)
    entry["finishedAt"] = clock.stamp(run.stopped_at or run.ends_at)
    entry["containerID"] = _container_id(uid_of(pod), name, index)
    return {"terminated": entry}


def image_id(image: str) -> str:
    repository = image.split("@", maxsplit=1)[0]
    head, _, tail = repository.rpartition(":")
    if head and "/" not in tail:
        repository = head
    return f"{repository}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def _container_id(uid: str, name: str, index: int) -> str:
    return "containerd://" + hashlib.sha256(f"{uid}/{name}/{index}".encode()).hexdigest()


def _pod_address(uid: str) -> str:
    digest = hashlib.sha256(uid.encode()).digest()
    return f"10.244.{digest[0]}.{1 + digest[1] % 254}"


def final_phase(pod: Obj, state: PodState) -> str:
    """Failed unless every app container ended well."""
    runs = [state.last_run(container["name"]) for container in pod["spec"]["containers"]]
    return "Succeeded" if all(_is_complete(run) for run in runs) else "Failed"
