"""A recorded build's Job and pod as templates in bytes, printed thousands of times; reads one file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMESPACE = "knative-lambda"
EMPTY_NAMESPACE = "nothing-here"
STEPS = ("created", "running", "terminated", "complete")
"""A build's life in four changes: of the Job, of its pod, of its pod, of the Job."""

_RECORDING = Path(__file__).parent.parent / "recordings" / "01-job-complete.json"
_VERSION = 777_777_777
_RECORDED_NAME, _RECORDED_POD = "build-0101", "build-0101-x9nk7"

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """An object with room for what differs: name, uids and version."""

    parts: tuple[bytes, ...]

    def of(self, number: int, version: int) -> bytes:
        """The JSON of the object of build `number`."""
        values = {
            b"name": name_of(number).encode(),
            b"uid": uid_of(number).encode(),
            b"pod_uid": _pod_uid_of(number).encode(),
            b"version": str(version).encode(),
        }
        return b"".join(values.get(part, part) for part in self.parts)


def name_of(number: int) -> str:
    """Name of the Job of a build."""
    return f"build-acme-orders-{number:06x}"


def uid_of(number: int) -> str:
    """The Job's uid."""
    return f"4575e630-c214-46a9-8967-{number:012x}"


def number_of(name_or_uid: str) -> int:
    """The build whose name or uid this is; ValueError if it is nobody's."""
    return int(name_or_uid.rpartition("-")[2], 16)


def _pod_uid_of(number: int) -> str:
    return f"bf2c1030-e84c-41ff-88fb-{number:012x}"


def templates() -> tuple[dict[str, Template], dict[str, Template]]:
    """Jobs and pods by the step from which on they look so: two of the four each."""
    jobs = list(_recorded("jobs"))
    pods = list(_recorded("pods"))
    return (
        {"created": _template(jobs[1]), "complete": _template(jobs[-1])},
        {"running": _template(pods[3]), "terminated": _template(pods[-1])},
    )


def _recorded(resource: str) -> Iterator[Obj]:
    for entry in json.loads(_RECORDING.read_text())["entries"]:
        request = entry.get("request", {})
        if request.get("query", {}).get("watch") and request["path"].endswith(f"/{resource}"):
            yield from (line["event"]["object"] for line in entry["response"]["stream"])


def _template(recorded: Obj) -> Template:
    meta = recorded["metadata"]
    uids = {b"pod_uid" if recorded["kind"] == "Pod" else b"uid": meta["uid"]}
    for owner in meta.get("ownerReferences", ()):
        uids[b"uid"] = owner["uid"]
    changed = meta | {
        "namespace": NAMESPACE,
        "resourceVersion": str(_VERSION),
        "labels": meta["labels"]
        | {
            "app": "knative-lambda-builder",
            "build.notifi.network/third-party-id": "acme",
            "build.notifi.network/parser-id": "orders",
        },
        # The recording leaves out what a server would say of each writer.
        "managedFields": [
            {
                "manager": manager,
                "operation": "Update",
                "apiVersion": recorded["apiVersion"],
                "time": meta["creationTimestamp"],
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:suspend": {}}},
            }
            for manager in ("kubectl-create", "kube-controller-manager")
        ],
    }
    text = json.dumps(recorded | {"metadata": changed}, separators=(",", ":")).encode()
    marks = [(uid.encode(), what) for what, uid in uids.items()]
    marks += [(_RECORDED_NAME.encode(), b"name"), (str(_VERSION).encode(), b"version")]
    parts = [text]
    for mark, what in marks:
        parts = [piece for part in parts for piece in _split(part, mark, what)]
    return Template(tuple(parts))


def _split(part: bytes, mark: bytes, what: bytes) -> Iterator[bytes]:
    for position, piece in enumerate(part.split(mark)):
        if position:
            yield what
        yield piece
