"""Plays scheduler and kubelet: takes pods through what their sim/ annotations ask; counts no Jobs."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devcluster import clock, podneeds, podstates, podstatus, sim
from devcluster.deletion import Deletion
from devcluster.events import NODE, Recorder
from devcluster.journal import Journal
from devcluster.objects import (
    Obj,
    controller_of,
    is_being_deleted,
    is_finished_pod,
    name_of,
    namespace_of,
    uid_of,
)
from devcluster.podstates import PodState, Run, Waiting
from devcluster.store import Change, Store

EVICTION = "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 1Gi. "
LONGEST_BACKOFF_S = 300.0
MOUNT_RETRY_S = 0.5


class Kubelet:
    """One state per pod, one timer per pod. After a restart every step is taken at the time it was due."""

    def __init__(
        self, store: Store, journal: Journal, timers: clock.Timers, recorder: Recorder, deletion: Deletion
    ) -> None:
        self._store = store
        self._journal = journal
        self._timers = timers
        self._recorder = recorder
        self._deletion = deletion
        self._states: dict[str, PodState] = {}
        self._pods_made: dict[str, int] = {}
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._steps: dict[str, Callable[[Obj, PodState, float], None]] = {
            "bind": self._bind,
            "mount": self._retry_mount,
            "config": self._retry_config,
            "pull": self._end_pull,
            "backoff": self._back_off_or_pull,
            "init": self._end_init,
            "run": self._run,
            "stop": self._stop,
        }

    def start(self) -> None:
        """Take up every pod where time says it is."""
        for body in self._journal.pod_states():
            state = podstates.decode(body)
            if self._store.pod_by_uid(state.namespace, state.name, state.uid) is None:
                self._journal.drop_pod_state(state.uid)
            else:
                self._states[state.uid] = state
                self._schedule(state)
        for pod in self._store.items("pods"):
            owner = controller_of(pod)
            if owner is not None:
                self._pods_made[owner["uid"]] = self._pods_made.get(owner["uid"], 0) + 1
            if uid_of(pod) not in self._states:
                self._adopt(pod)
            elif is_being_deleted(pod):
                self._notice_deletion(uid_of(pod))
        self._store.subscribe(self._on_change)

    def state(self, uid: str) -> PodState | None:
        return self._states.get(uid)

    @contextmanager
    def waiting_for(self, uid: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happens to the pod's containers."""
        event = asyncio.Event()
        self._waiters.setdefault(uid, set()).add(event)
        try:
            yield event
        finally:
            self._waiters[uid].discard(event)
            if not self._waiters[uid]:
                del self._waiters[uid]

    def _on_change(self, change: Change) -> None:
        if change.resource != "pods":
            return
        uid = uid_of(change.obj)
        loop = asyncio.get_running_loop()
        if change.type == "ADDED":
            loop.call_soon(self._adopt, change.obj)
        elif change.type == "DELETED":
            self._forget(uid)
        elif (
            change.before is not None and is_being_deleted(change.obj) and not is_being_deleted(change.before)
        ):
            loop.call_soon(self._notice_deletion, uid)

    def _forget(self, uid: str) -> None:
        self._timers.cancel(("pod", uid))
        if self._states.pop(uid, None) is not None:
            self._journal.drop_pod_state(uid)
        self._wake(uid)

    def _wake(self, uid: str) -> None:
        for event in self._waiters.get(uid, ()):
            event.set()

    def _adopt(self, pod: Obj) -> None:
        if is_finished_pod(pod) or uid_of(pod) in self._states:
            return
        owner = controller_of(pod)
        ordinal = 0
        if owner is not None:
            ordinal = self._pods_made.get(owner["uid"], 0)
            self._pods_made[owner["uid"]] = ordinal + 1
        state = PodState(uid_of(pod), namespace_of(pod), name_of(pod), ordinal)
        script = sim.pod_script(pod)
        now = clock.now()
        if script.unschedulable:
            state.step = "stuck"
            self._refuse_to_schedule(pod, script.unschedulable, now)
        else:
            state.due_at = now + script.schedule_s
        self._keep(state)

    def _keep(self, state: PodState) -> None:
        self._states[state.uid] = state
        self._journal.put_pod_state(state.uid, podstates.encode(state))
        self._schedule(state)
        self._wake(state.uid)

    def _schedule(self, state: PodState) -> None:
        if state.due_at is None:
            self._timers.cancel(("pod", state.uid))
        else:
            self._timers.set(("pod", state.uid), state.due_at, lambda: self._advance(state.uid))

    def _advance(self, uid: str) -> None:
        """Take every step that is due, each at its own time: after a standstill there may be several."""
        state = self._states.get(uid)
        while state is not None and state.due_at is not None and state.due_at <= clock.now():
            pod = self._store.pod_by_uid(state.namespace, state.name, uid)
            if pod is None:
                return
            at, state.due_at = state.due_at, None
            self._steps[state.step](pod, state, at)
            state = self._states.get(uid)
        if state is not None:
            self._keep(state)

    def _publish(self, pod: Obj, state: PodState, at: float) -> Obj:
        return self._store.update("pods", {**pod, "status": podstatus.render(pod, state, at)})

    # From creation to the first container.

    def _refuse_to_schedule(self, pod: Obj, message: str, at: float) -> None:
        condition = podstatus.unschedulable_condition(pod, message, at)
        status = {"phase": "Pending", "conditions": [condition], "qosClass": pod["status"]["qosClass"]}
        self._store.update("pods", {**pod, "status": status})
        self._recorder.scheduler(pod, "FailedScheduling", "Scheduling", message, at, "Warning")

    def _bind(self, pod: Obj, state: PodState, at: float) -> None:
        status = {
            "phase": "Pending",
            "conditions": [podstatus.scheduled_condition(at)],
            "qosClass": pod["status"]["qosClass"],
        }
        pod = self._store.update("pods", {**pod, "spec": {**pod["spec"], "nodeName": NODE}, "status": status})
        message = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {NODE}"
        self._recorder.scheduler(pod, "Scheduled", "Binding", message, at)
        state.node_started_at = at
        pod = self._publish(pod, state, at)
        if podneeds.missing_volume(pod) is not None:
            state.step = "mount"
            self._retry_mount(pod, state, at)
        elif podneeds.missing_env(pod) is not None:
            state.step = "config"
            self._retry_config(pod, state, at)
        else:
            self._begin_pull(pod, state, at)

    def _retry_mount(self, pod: Obj, state: PodState, at: float) -> None:
        volume, secret = podneeds.missing_volume(pod) or ("", "")
        message = f'MountVolume.SetUp failed for volume "{volume}" : secret "{secret}" not found'
        self._recorder.kubelet_again(pod, "FailedMount", message, at)
        self._retry_later(state, at)

    def _retry_config(self, pod: Obj, state: PodState, at: float) -> None:
        container, secret = podneeds.missing_env(pod) or ("", "")
        message = f'secret "{secret}" not found'
        state.waiting[container] = Waiting("CreateContainerConfigError", message)
        self._publish(pod, state, at)
        self._recorder.kubelet_again(pod, "Failed", f"Error: {message}", at, "Warning", container)
        self._retry_later(state, at)

    def _retry_later(self, state: PodState, at: float) -> None:
        state.due_at = at + min(MOUNT_RETRY_S * 2**state.tries, LONGEST_BACKOFF_S)
        state.tries += 1

    def _begin_pull(self, pod: Obj, state: PodState, at: float) -> None:
        container = (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])[0]
        message = f'Pulling image "{container["image"]}"'
        self._recorder.kubelet(pod, "Pulling", message, at, container=container["name"])
        state.step = "pull"
        state.due_at = at + sim.pod_script(pod).pull_s

    def _end_pull(self, pod: Obj, state: PodState, at: float) -> None:
        script = sim.pod_script(pod)
        if script.image_pull_error:
            self._fail_pull(pod, state, at, script.image_pull_error)
        elif pod["spec"].get("initContainers"):
            self._begin_init(pod, state, at, 0)
        else:
            self._begin_containers(pod, state, at)

    def _fail_pull(self, pod: Obj, state: PodState, at: float, error: str) -> None:
        container = pod["spec"]["containers"][0]
        name, image = container["name"], container["image"]
        detail = podneeds.pull_error(image, error)
        state.waiting[name] = Waiting("ErrImagePull", detail)
        self._publish(pod, state, at)
        self._recorder.kubelet_again(
            pod, "Failed", f'Failed to pull image "{image}": {detail}', at, "Warning", name
        )
        self._recorder.kubelet_again(pod, "Failed", "Error: ErrImagePull", at, "Warning", name)
        state.step = "backoff"
        state.due_at = at + 1.0

    def _back_off_or_pull(self, pod: Obj, state: PodState, at: float) -> None:
        container = pod["spec"]["containers"][0]
        name, image = container["name"], container["image"]
        if state.waiting[name].reason == "ImagePullBackOff":
            self._fail_pull(pod, state, at, sim.pod_script(pod).image_pull_error)
            return
        detail = state.waiting[name].message
        back_off = f'Back-off pulling image "{image}"'
        state.waiting[name] = Waiting("ImagePullBackOff", f"{back_off}: ErrImagePull: {detail}")
        self._recorder.kubelet_again(pod, "BackOff", back_off, at, "Normal", name)
        self._recorder.kubelet_again(pod, "Failed", "Error: ImagePullBackOff", at, "Warning", name)
        self._publish(pod, state, at)
        state.due_at = at + min(2.0**state.tries, LONGEST_BACKOFF_S)
        state.tries += 1

    # Init containers, one after the other.

    def _begin_init(self, pod: Obj, state: PodState, at: float, index: int) -> None:
        container = pod["spec"]["initContainers"][index]
        self._start_run(pod, state, container, at, is_init=True)
        self._publish(pod, state, at)
        self._announce_start(pod, container, at)
        state.step = "init"
        state.due_at = state.runs[container["name"]][-1].ends_at

    def _end_init(self, pod: Obj, state: PodState, at: float) -> None:
        containers = pod["spec"]["initContainers"]
        name, run = state.running()[0]
        self._end_run(pod, name, run, at)
        if run.exit_code != 0:
            self._finish(pod, state, at)
            return
        index = [container["name"] for container in containers].index(name) + 1
        if index < len(containers):
            self._begin_init(pod, state, at, index)
        else:
            self._begin_containers(pod, state, at)

    # App containers.

    def _begin_containers(self, pod: Obj, state: PodState, at: float) -> None:
        script = sim.pod_script(pod)
        for container in pod["spec"]["containers"]:
            self._start_run(pod, state, container, at)
        state.phase = "Running"
        pod = self._publish(pod, state, at)
        for container in pod["spec"]["containers"]:
            self._announce_start(pod, container, at)
        if script.evict_after_s is not None:
            state.evict_at = at + script.evict_after_s
        if script.lost_after_s is not None:
            state.lost_at = at + script.lost_after_s
        state.step = "run"
        state.due_at = _next_due(state)

    def _start_run(self, pod: Obj, state: PodState, container: Obj, at: float, is_init: bool = False) -> None:
        name = container["name"]
        script = sim.container_script(pod, name, is_init)
        runs = state.runs.setdefault(name, [])
        restarts_in_place = pod["spec"]["restartPolicy"] == "OnFailure"
        code = script.exit_code(len(runs) if restarts_in_place else state.ordinal)
        runs.append(Run(at, at + script.run_s, code, is_init))
        state.waiting.pop(name, None)

    def _announce_start(self, pod: Obj, container: Obj, at: float) -> None:
        script = sim.pod_script(pod)
        pulled = (
            f'Successfully pulled image "{container["image"]}" in {script.pull_s:.3f}s '
            f"({script.pull_s:.3f}s including waiting). Image size: 37482123 bytes."
        )
        for reason, message in (
            ("Pulled", pulled),
            ("Created", "Container created"),
            ("Started", "Container started"),
        ):
            self._recorder.kubelet(pod, reason, message, at, container=container["name"])

    def _run(self, pod: Obj, state: PodState, at: float) -> None:
        """The next thing that happens while containers run: loss, eviction, an end or a new start."""
        if state.lost_at is not None and state.lost_at <= at:
            state.step = "stuck"
            return
        if state.evict_at is not None and state.evict_at <= at:
            self._evict(pod, state, at)
            return
        for name, due_at in list(state.restart_at.items()):
            if due_at <= at:
                self._restart(pod, state, name, at)
        for name, run in state.running():
            if run.ends_at <= at:
                self._end_run(pod, name, run, at)
                if run.exit_code and pod["spec"]["restartPolicy"] == "OnFailure":
                    self._crash_loop(pod, state, name, at)
        if state.running() or state.restart_at:
            self._publish(pod, state, at)
            state.due_at = _next_due(state)
        else:
            self._finish(pod, state, at)

    @staticmethod
    def _end_run(pod: Obj, name: str, run: Run, at: float) -> None:
        script = sim.container_script(pod, name, run.is_init)
        run.stopped_at = at
        run.reason = script.reason if script.reason and run.exit_code else ""
        run.reason = run.reason or ("Error" if run.exit_code else "Completed")
        run.message = script.termination_message if run.exit_code else ""

    def _crash_loop(self, pod: Obj, state: PodState, name: str, at: float) -> None:
        delay_s = min(sim.pod_script(pod).crashloop_s * 2 ** (len(state.runs[name]) - 1), LONGEST_BACKOFF_S)
        identity = f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"
        message = f"Back-off restarting failed container {name} in pod {identity}"
        self._recorder.kubelet_again(pod, "BackOff", message, at, "Warning", name)
        message = f"back-off {delay_s:g}s restarting failed container={name} pod={identity}"
        state.waiting[name] = Waiting("CrashLoopBackOff", message)
        state.restart_at[name] = at + delay_s

    def _restart(self, pod: Obj, state: PodState, name: str, at: float) -> None:
        del state.restart_at[name]
        container = next(c for c in pod["spec"]["containers"] if c["name"] == name)
        self._start_run(pod, state, container, at)
        self._announce_start(pod, container, at)

    def _finish(self, pod: Obj, state: PodState, at: float) -> None:
        state.phase = podstatus.final_phase(pod, state)
        state.step = "done"
        self._publish(pod, state, at)

    # Ends from outside.

    def _evict(self, pod: Obj, state: PodState, at: float) -> None:
        """Two writes as the kubelet makes them: first the verdict, with the containers still running."""
        self._recorder.kubelet(pod, "Evicted", EVICTION, at, "Warning")
        for name, _ in state.running():
            self._recorder.kubelet(pod, "Killing", f"Stopping container {name}", at, container=name)
        state.phase, state.reason, state.message = "Failed", "Evicted", EVICTION
        pod = self._publish(pod, state, at)
        for _, run in state.running():
            run.stopped_at, run.exit_code, run.reason = at, 137, "Error"
        state.restart_at.clear()
        state.step = "done"
        self._publish(pod, state, at)

    def _notice_deletion(self, uid: str) -> None:
        state = self._states.get(uid)
        pod = self._store.pod_by_uid(state.namespace, state.name, uid) if state else None
        if state is None or pod is None or state.step in ("stop", "done"):
            return
        if state.lost_at is not None and state.lost_at <= clock.now():
            return
        if "nodeName" not in pod["spec"]:
            state.step, state.due_at = "done", None
            self._keep(state)
            return
        now = clock.now()
        for name, _ in state.running():
            self._recorder.kubelet(pod, "Killing", f"Stopping container {name}", now, container=name)
        state.restart_at.clear()
        state.step, state.kill_at = "stop", now + pod["metadata"]["deletionGracePeriodSeconds"]
        state.due_at = self._next_stop(pod, state, now)
        self._keep(state)

    def _next_stop(self, pod: Obj, state: PodState, now: float) -> float:
        """When the last container has obeyed SIGTERM or has been killed: now if none runs."""
        kill_at = state.kill_at or now
        stops = [now]
        for name, run in state.running():
            script = sim.container_script(pod, name, run.is_init)
            run.ends_at = min(now + script.term_s, kill_at)
            run.exit_code = 137 if now + script.term_s >= kill_at else script.term_exit_code
            stops.append(run.ends_at)
        return max(stops)

    def _stop(self, pod: Obj, state: PodState, at: float) -> None:
        for _, run in state.running():
            run.stopped_at = run.ends_at
            run.reason = "Error" if run.exit_code else "Completed"
        for name in state.runs:
            state.waiting.pop(name, None)
        state.phase = podstatus.final_phase(pod, state)
        state.step = "done"
        pod = self._publish(pod, state, at)
        self._deletion.confirm_pod_end(pod)


def _next_due(state: PodState) -> float:
    times = [run.ends_at for _, run in state.running()]
    times += state.restart_at.values()
    times += [at for at in (state.evict_at, state.lost_at) if at is not None]
    return min(times)
