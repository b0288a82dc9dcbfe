"""A server that plays a recording of a real API server: its watch streams in time, and the lists that follow
from them.

`with ReplayServer("01-job-complete") as server:` and a gateway connected by `server.kubeconfig(folder)`,
which follows namespace `builds`. The play begins when every recorded resource is being watched. Selectors are
ignored, except for a controller-uid: the recorded Jobs carry no labels of the portal.
"""

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kube.server import Answer, Request, Server

RECORDINGS = Path(__file__).parent.parent / "recordings"
NAMESPACE = "builds"
KUBE_SYSTEM_UID = "b5a0c0ab-5b5a-4f0e-9a34-2f0c4d9f3a11"
CONTROLLER_UID_LABEL = "batch.kubernetes.io/controller-uid"
JSON_TYPE = {"Content-Type": "application/json"}
KINDS = {"jobs": "JobList", "pods": "PodList", "events": "EventList"}


def entries(recording: str) -> list[dict[str, Any]]:
    """The entries of a recording, by its file name without `.json`."""
    path = RECORDINGS / f"{recording}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["entries"])


def entry(recording: str, number: int) -> dict[str, Any]:
    """One entry, by its id."""
    return next(one for one in entries(recording) if one["id"] == number)


def recorded_answer(recording: str, number: int) -> Answer:
    """The answer of one entry, as it can be sent again."""
    response = entry(recording, number)["response"]
    body = response.get("body", "")
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kept = {"content-type", "retry-after", "warning"}
    headers = {name: value for name, value in response["headers"].items() if name.lower() in kept}
    return Answer(response["status"], raw, headers)


def watch_line(kind: str, found: dict[str, Any]) -> bytes:
    """A line of a watch stream."""
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


class ReplayServer(Server):
    """`speed` is how much faster than recorded; `logs` (pod's name -> text) is for the test to fill."""

    def __init__(self, recording: str, *, speed: float = 20.0) -> None:
        super().__init__()
        self.finished = threading.Event()
        self.logs: dict[str, bytes] = {}
        self._speed = speed
        self._changed = threading.Condition()
        self._objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in KINDS}
        self._released: dict[str, list[tuple[int, bytes]]] = {name: [] for name in KINDS}
        self._script, self._version = _script(recording)
        self._awaited = {name for _, name, _ in self._script}
        self._player = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Self:
        super().__enter__()
        self._player.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        with self._changed:
            self._changed.notify_all()
        super().__exit__(kind, error, traceback)
        self._player.join(5)

    def begin(self) -> None:
        """Starts the play whether or not anybody watches."""
        with self._changed:
            self._awaited.clear()
            self._changed.notify_all()

    def answer(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        if parts == ["api", "v1", "namespaces", "kube-system"]:
            return _json({"metadata": {"name": "kube-system", "uid": KUBE_SYSTEM_UID}})
        if request.method != "GET" or "namespaces" not in parts:
            return Answer(405, b"only reads are played")
        resource, *rest = parts[parts.index("namespaces") + 2 :]
        if not rest:
            if request.query.get("watch"):
                return Answer(headers=JSON_TYPE, chunks=self._stream(resource, request))
            return self._list(resource, request.query.get("labelSelector", ""))
        if rest[1:] == ["log"]:
            return self._log(rest[0])
        return self._get(resource, rest[0])

    def _play(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._awaited or self.closing.is_set())
        begun = time.monotonic()
        for at_s, resource, event in self._script:
            due = begun + (0.0 if math.isinf(self._speed) else at_s / self._speed)
            if self.closing.wait(max(0.0, due - time.monotonic())):
                return
            with self._changed:
                self._release(resource, event)
                self._changed.notify_all()
        self.finished.set()

    def _release(self, resource: str, event: dict[str, Any]) -> None:
        found = event["object"]
        meta = found["metadata"]
        if event["type"] == "DELETED":
            self._objects[resource].pop(meta["name"], None)
        else:
            self._objects[resource][meta["name"]] = found
        version = int(meta["resourceVersion"])
        self._version = max(self._version, version)
        self._released[resource].append((version, watch_line(event["type"], found)))

    def _stream(self, resource: str, request: Request) -> Iterator[bytes]:
        since = int(request.query["resourceVersion"])
        sent = 0
        with self._changed:
            self._awaited.discard(resource)
            self._changed.notify_all()
        while not self.closing.is_set():
            new = self._released_after(resource, sent)
            sent += len(new)
            fresh = [line for version, line in new if version > since]
            if fresh:
                yield b"".join(fresh)

    def _released_after(self, resource: str, sent: int) -> list[tuple[int, bytes]]:
        """What was released after the first `sent` changes; waits until there is something."""
        released = self._released[resource]
        with self._changed:
            self._changed.wait_for(lambda: len(released) > sent or self.closing.is_set())
            return released[sent:]

    def _list(self, resource: str, selector: str) -> Answer:
        name, _, uid = selector.partition("=")
        with self._changed:
            items = list(self._objects[resource].values())
            version = self._version
        if name == CONTROLLER_UID_LABEL and uid:
            items = [one for one in items if one["metadata"].get("labels", {}).get(name) == uid]
        meta = {"resourceVersion": str(version)}
        return _json({"kind": KINDS[resource], "metadata": meta, "items": items})

    def _get(self, resource: str, name: str) -> Answer:
        with self._changed:
            found = self._objects[resource].get(name)
        return _json(found) if found is not None else _not_found(resource, name)

    def _log(self, pod: str) -> Answer:
        with self._changed:
            exists = pod in self._objects["pods"]
        if not exists:
            return _not_found("pods", pod)
        return Answer(body=self.logs.get(pod, b""), headers={"Content-Type": "text/plain"})


def _script(recording: str) -> tuple[list[tuple[float, str, dict[str, Any]]], int]:
    """The recorded changes in order of time, and the version that the watches began from."""
    script: list[tuple[float, str, dict[str, Any]]] = []
    version = 0
    seen: set[str] = set()
    for one in entries(recording):
        request = one.get("request", {})
        resource = request.get("path", "").rpartition("/")[2]
        if not request.get("query", {}).get("watch") or resource in seen or resource not in KINDS:
            continue
        seen.add(resource)
        version = int(request["query"]["resourceVersion"])
        script += [(line["t"], resource, line["event"]) for line in one["response"]["stream"]]
    if not script:
        raise ValueError(f"recording {recording} has no watch stream")
    return sorted(script, key=lambda line: line[0]), version


def _json(found: dict[str, Any]) -> Answer:
    return Answer(body=json.dumps(found).encode(), headers=JSON_TYPE)


def _not_found(resource: str, name: str) -> Answer:
    group = "jobs.batch" if resource == "jobs" else resource
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{group} "{name}" not found',
        "reason": "NotFound",
        "details": {"name": name, "kind": resource},
        "code": 404,
    }
    return Answer(404, json.dumps(status).encode(), JSON_TYPE)
