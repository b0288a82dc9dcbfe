"""Sends a recording to the stand-in at the recorded times, and reduces answers to what must match."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import Answer, DevCluster

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
POD_SUFFIX = re.compile(
    r"\b((?:build|ttl|stuck|ev|log|list)[-\w]*?)-[bcdfghjklmnpqrstvwxz2456789]{5}(?![-a-z0-9])"
)

# Deadlines, retries and TTLs count from whole seconds: at the same moment of a second they fall alike.
START_FRACTION = 0.7
# What the recording saw may come this much later here; who looks comes a little later too, so that what is
# looked at has happened on a busy machine.
LATE_S = 1.2
LOOK_DELAY_S = 0.25

Obj = dict[str, Any]


def load(scenario: str) -> Obj:
    found: Obj = json.loads((RECORDINGS / f"{scenario}.json").read_text())
    return found


def is_watch(entry: Obj) -> bool:
    return "stream" in entry.get("response", {}) and "/log" not in entry["request"]["path"]


@dataclass
class Replay:
    """What the stand-in did: answers by entry id, and the events of the watches by entry id."""

    entries: list[Obj]
    answers: dict[int, Answer] = field(default_factory=dict)
    events: dict[int, list[Obj]] = field(default_factory=dict)
    pod_names: dict[str, str] = field(default_factory=dict)


class Player:
    """Plays one recording in a namespace of its own, so that all can be played at once."""

    def __init__(self, cluster: DevCluster, scenario: str) -> None:
        self._cluster = cluster
        self._namespace = f"rec-{scenario}"
        self._users = {
            "admin": cluster.token,
            "limited": cluster.limited_token,
            "anonymous": "",
            "bad": "bad",
        }
        self.replay = Replay([e for e in load(scenario)["entries"] if "request" in e])

    def play(self) -> Replay:
        self._cluster.ok("POST", "/api/v1/namespaces", body={"metadata": {"name": self._namespace}})
        version = self._cluster.ok("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
        end_at = max(self._last_moment(entry) for entry in self.replay.entries) + LATE_S
        watches = [
            threading.Thread(target=self._watch, args=(entry, version, end_at))
            for entry in self.replay.entries
            if is_watch(entry)
        ]
        time.sleep((START_FRACTION - time.time()) % 1)
        for watch in watches:
            watch.start()
        begun = time.monotonic()
        for entry in self.replay.entries:
            if not is_watch(entry):
                due_s = entry["t"] + (LOOK_DELAY_S if entry["request"]["method"] == "GET" else 0.0)
                time.sleep(max(0.0, due_s - (time.monotonic() - begun)))
                self.replay.answers[entry["id"]] = self._send(entry["request"])
        for watch in watches:
            watch.join()
        return self.replay

    @staticmethod
    def _last_moment(entry: Obj) -> float:
        stream = entry["response"].get("stream") or []
        return float(max([entry["t"], *(item["t"] for item in stream)]))

    def _path(self, path: str) -> str:
        path = path.replace("/namespaces/builds/", f"/namespaces/{self._namespace}/")
        for recorded, ours in self.replay.pod_names.items():
            path = path.replace(recorded, ours)
        return path

    def _watch(self, entry: Obj, version: str, end_at: float) -> None:
        query = {"resourceVersion": version, "timeoutSeconds": int(end_at) + 1}
        events = self.replay.events.setdefault(entry["id"], [])
        last_at = time.monotonic() + self._last_moment(entry) + LATE_S
        for event in self._cluster.watch(self._path(entry["request"]["path"]), query):
            if time.monotonic() > last_at:
                # The recording ends here.
                return
            events.append(event)
            if event["type"] == "ADDED" and event["object"]["kind"] == "Pod":
                self._learn_pod_name(entry, events)

    def _learn_pod_name(self, entry: Obj, events: list[Obj]) -> None:
        """The n-th pod of a Job here stands for the n-th of the recording."""
        ours = [e["object"]["metadata"]["name"] for e in events if e["type"] == "ADDED"]
        recorded = [
            item["event"]["object"]["metadata"]["name"]
            for item in entry["response"]["stream"]
            if item["event"]["type"] == "ADDED"
        ]
        for job in {stem(name) for name in recorded}:
            theirs = [name for name in recorded if stem(name) == job]
            mine = [name for name in ours if stem(name) == job]
            self.replay.pod_names.update(zip(theirs, mine, strict=False))

    def _send(self, request: Obj) -> Answer:
        body = request.get("body")
        for name in set(re.findall(r"build-0801-\w+", request["path"])) - set(self.replay.pod_names):
            job = stem(name)
            pods = self._cluster.pods(job, self._namespace)
            # A Job of that name had been deleted before: its pod is the one on its way out.
            live = [p for p in pods if "deletionTimestamp" not in p["metadata"]] or pods
            if live:
                self.replay.pod_names[name] = live[-1]["metadata"]["name"]
        return self._cluster.request(
            request["method"],
            self._path(request["path"]),
            query=request.get("query"),
            body=self._with_uids(body),
            content_type=request.get("content_type"),
            headers=request.get("headers"),
            token=self._users[request.get("user", "admin")],
        )

    def _with_uids(self, body: Any) -> Any:
        """Preconditions name uids and versions of the recording: put ours in their place."""
        if not isinstance(body, dict) or "preconditions" not in body:
            return body
        text = json.dumps(body)
        for entry in self.replay.entries:
            answer = self.replay.answers.get(entry["id"])
            recorded = entry["response"].get("body")
            if answer is not None and answer.status == 201:
                ours = answer.json()["metadata"]
                if isinstance(recorded, dict) and "uid" in recorded:
                    text = text.replace(recorded["uid"], ours["uid"])
                    text = text.replace(
                        f'"{recorded.get("resourceVersion")}"', f'"{ours["resourceVersion"]}"'
                    )
                elif isinstance(recorded, str):
                    text = text.replace(recorded, ours["uid"])
        return json.loads(text)


def stem(pod_name: str) -> str:
    return pod_name.rpartition("-")[0]


def plain(value: Any, namespace: str) -> Any:
    """Without what must differ: uids, times, versions, random names."""
    text = json.dumps(value)
    text = text.replace(f"rec-{namespace}", "builds")
    text = TIME.sub("<time>", UUID.sub("<uid>", text))
    text = re.sub(r"\((\d+)\) does not match the ResourceVersion in record \((\d+)\)", "(<version>)", text)
    text = POD_SUFFIX.sub(r"\1-<pod>", text)
    text = re.sub(r"in 0\.3\d\ds \(0\.3\d\ds including", "in 0.3s (0.3s including", text)
    return json.loads(text)


def events_of(entry: Obj) -> list[Obj]:
    return [item["event"] for item in entry["response"]["stream"]]


def _conditions(obj: Obj, types: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}"
        for c in obj.get("status", {}).get("conditions") or []
        if not types or c["type"] in types
    ]


def job_step(event: Obj) -> Obj:
    """One event of a Job; `ready` is left out: when it shows depends on the moment."""
    obj = event["object"]
    status = {
        k: v for k, v in obj["status"].items() if k not in ("ready", "conditions", "uncountedTerminatedPods")
    }
    uncounted = obj["status"].get("uncountedTerminatedPods") or {}
    return {
        "type": event["type"],
        "status": status,
        "uncounted": {phase: len(uids) for phase, uids in uncounted.items()},
        "conditions": _conditions(obj),
        "deleting": "deletionTimestamp" in obj["metadata"],
        "finalizers": obj["metadata"].get("finalizers"),
        "generation": obj["metadata"]["generation"],
    }


def pod_step(event: Obj) -> Obj:
    obj = event["object"]
    statuses = obj["status"].get("containerStatuses") or []
    states = []
    for status in statuses:
        (kind, state), *_ = status["state"].items()
        states.append([kind, state.get("reason"), state.get("exitCode"), state.get("message")])
    return {
        "type": event["type"],
        "phase": obj["status"]["phase"],
        "reason": obj["status"].get("reason"),
        "states": states,
        "conditions": _conditions(obj, ("PodScheduled", "Ready", "DisruptionTarget", "Initialized")),
        "grace": obj["metadata"].get("deletionGracePeriodSeconds"),
        # Until then the collector and the job controller race for who takes which away first.
        "finalizers": obj["metadata"].get("finalizers") if event["type"] == "DELETED" else None,
        "owned": bool(obj["metadata"].get("ownerReferences")),
    }


def steps(events: list[Obj]) -> Iterator[tuple[str, Obj]]:
    """(object, step) of a watch of Jobs or pods; those of a Job are numbered as they came."""
    numbers: dict[str, dict[str, int]] = {}
    for event in events:
        obj = event["object"]
        kind, name = obj["kind"], obj["metadata"]["name"]
        job = name if kind == "Job" else stem(name)
        of_job = numbers.setdefault(job, {})
        number = of_job.setdefault(obj["metadata"]["uid"], len(of_job))
        yield f"{kind} {job} #{number}", job_step(event) if kind == "Job" else pod_step(event)


def histories(events: list[Obj], namespace: str, is_untimed: bool) -> dict[str, list[Obj]]:
    """By object, its steps without repetitions; untimed, without the count that depends on the moment."""
    found: dict[str, list[Obj]] = {}
    for name, step in steps(events):
        if is_untimed:
            step.get("status", {}).pop("terminating", None)
        seen = plain(step, namespace)
        history = found.setdefault(name, [])
        if not history or history[-1] != seen:
            history.append(seen)
    return found


def told(events: list[Obj], namespace: str) -> dict[str, list[str]]:
    """What Events said of each object, each thing once, in order."""
    found: dict[str, list[str]] = {}
    for event in events:
        obj = event["object"]
        about = plain(f"{obj['involvedObject']['kind']} {obj['involvedObject']['name']}", namespace)
        text = plain(f"{obj['type']} {obj['reason']}: {obj['message']}", namespace)
        said = found.setdefault(about, [])
        if text not in said:
            said.append(text)
    return found


def warnings(response: Obj) -> list[str]:
    """The Warning headers of a recorded answer."""
    found = (response.get("headers") or {}).get("warning") or []
    return sorted([found] if isinstance(found, str) else found)
