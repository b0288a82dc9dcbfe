"""The pods/log endpoint: which run, which part of its log, and following it; writes no log text."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from devcluster import clock, errors, logtexts, requests, sim
from devcluster.errors import Cause
from devcluster.logtexts import Record
from devcluster.objects import Obj, name_of, uid_of
from devcluster.pods import Kubelet
from devcluster.podstates import PodState, Run
from devcluster.stories import Facts

WAITING_TEXTS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


@dataclass(frozen=True)
class LogOptions:
    container: str
    is_following: bool
    is_previous: bool
    with_timestamps: bool
    tail_lines: int | None
    limit_bytes: int | None
    since: float | None


@dataclass(frozen=True)
class Source:
    """One run's log."""

    pod: Obj
    state: PodState
    container: str
    run: Run

    def records(self, until: float) -> list[Record]:
        script = sim.container_script(self.pod, self.container, self.run.is_init)
        if self.state.lost_at is not None:
            until = min(until, self.state.lost_at)
        return logtexts.written(script, self.run, self._facts(), until)

    def _facts(self) -> Facts:
        containers = (*self.pod["spec"].get("initContainers", []), *self.pod["spec"]["containers"])
        arguments = next(c.get("args", []) for c in containers if c["name"] == self.container)
        said = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        index = self.state.runs[self.container].index(self.run)
        return Facts(
            destination=said.get("--destination", "registry.local/image:latest"),
            context=said.get("--context", "dir:///workspace"),
            seed=f"{uid_of(self.pod)}/{self.container}/{index}",
        )


def options(name: str, query: Mapping[str, str]) -> LogOptions:
    """Raises 400 and 422."""
    tail = requests.integer(query, "tailLines")
    limit = requests.integer(query, "limitBytes")
    since_s = requests.integer(query, "sinceSeconds")
    since_text = query.get("sinceTime", "")
    causes = []
    if tail is not None and tail < 0:
        causes.append(_invalid("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit <= 0:
        causes.append(_invalid("limitBytes", limit, "must be greater than 0"))
    if since_s is not None and since_text:
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("FieldValueForbidden", message, "[]"))
    elif since_s is not None and since_s <= 0:
        causes.append(_invalid("sinceSeconds", since_s, "must be greater than 0"))
    if "stream" in query:
        causes.append(Cause("FieldValueForbidden", "Forbidden: may not be specified", "stream"))
    if causes:
        raise errors.invalid("PodLogOptions", "", name, causes)
    since = None if since_s is None else clock.now() - since_s
    if since_text:
        try:
            # The kubelet is told whole seconds.
            since = float(int(clock.parse(since_text)))
        except ValueError as error:
            raise errors.bad_request(f'parsing time "{since_text}" as RFC 3339 failed') from error
    return LogOptions(
        container=query.get("container", ""),
        is_following=requests.flag(query, "follow"),
        is_previous=requests.flag(query, "previous"),
        with_timestamps=requests.flag(query, "timestamps"),
        tail_lines=tail,
        limit_bytes=limit,
        since=since,
    )


def _invalid(field: str, value: int, rule: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {value}: {rule}", field)


def source(pod: Obj, kubelet: Kubelet, chosen: LogOptions) -> Source | None:
    """None for a pod that no node has: that is 204. Raises 400 where there is no log to read."""
    container = _container(pod, chosen.container)
    state = kubelet.state(uid_of(pod))
    if "nodeName" not in pod["spec"] or state is None:
        return None
    runs = state.runs.get(container, [])
    waiting = state.waiting.get(container)
    name = name_of(pod)
    if chosen.is_previous:
        # While a container waits for its restart, its last run is the previous one already.
        past = runs if waiting is not None else runs[:-1]
        if not past:
            raise errors.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        return Source(pod, state, container, past[-1])
    if not runs:
        reason = waiting.reason if waiting else _initial_reason(pod)
        text = WAITING_TEXTS.get(reason, reason)
        raise errors.bad_request(f'container "{container}" in pod "{name}" is waiting to start: {text}')
    return Source(pod, state, container, runs[-1])


def _initial_reason(pod: Obj) -> str:
    return "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"


def _container(pod: Obj, wanted: str) -> str:
    names = [c["name"] for c in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])]
    if wanted:
        if wanted not in names:
            raise errors.bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    if len(names) > 1:
        listed = " ".join(names)
        raise errors.bad_request(
            f"a container name must be specified for pod {name_of(pod)}, choose one of: [{listed}]"
        )
    return str(names[0])


class _Cutter:
    """Turns records into bytes: timestamps in front of lines, and never more than the limit."""

    def __init__(self, chosen: LogOptions) -> None:
        self._chosen = chosen
        self._left = chosen.limit_bytes
        self._is_line_start = True

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def cut(self, records: list[Record]) -> Iterator[bytes]:
        for record in records:
            data = record.data
            if self._chosen.with_timestamps and self._is_line_start:
                data = clock.stamp_nano(record.at).encode() + b" " + data
            self._is_line_start = data.endswith(b"\n")
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            yield data


def _selected(records: list[Record], chosen: LogOptions) -> list[Record]:
    if chosen.since is not None:
        records = [record for record in records if record.at >= chosen.since]
    if chosen.tail_lines is not None:
        records = records[-chosen.tail_lines :] if chosen.tail_lines else []
    return records


async def chunks(
    found: Source, kubelet: Kubelet, chosen: LogOptions, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """What there is, and with follow what comes until the container has stopped."""
    cutter = _Cutter(chosen)
    seen_at = clock.now()
    records = found.records(seen_at)
    count = len(records)
    yield b"".join(cutter.cut(_selected(records, chosen)))
    with kubelet.waiting_for(uid_of(found.pod)) as woken:
        while chosen.is_following and not cutter.is_full and not stopping.is_set():
            is_over = found.run.stopped_at is not None or kubelet.state(uid_of(found.pod)) is None
            records = found.records(clock.now())
            yield b"".join(cutter.cut(records[count:]))
            count = len(records)
            if is_over:
                return
            woken.clear()
            await _sleep_until_next(found, woken, stopping)


async def _sleep_until_next(found: Source, woken: asyncio.Event, stopping: asyncio.Event) -> None:
    now = clock.now()
    ahead = [record.at for record in found.records(found.run.ends_at) if record.at > now]
    delay_s = min(max(0.0, ahead[0] - now), 5.0) if ahead else 5.0
    waits = [asyncio.ensure_future(event.wait()) for event in (woken, stopping)]
    try:
        await asyncio.wait(waits, timeout=delay_s + 0.001, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
