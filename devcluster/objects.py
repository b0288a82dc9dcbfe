"""Kubernetes objects as plain JSON: readers and copiers; none changes an object in place."""

import secrets
from typing import Any

Obj = dict[str, Any]

NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
JOB_TRACKING = "batch.kubernetes.io/job-tracking"


def random_suffix() -> str:
    """Five letters as the API server's generateName makes them: no vowels, so that no words arise."""
    return "".join(secrets.choice(NAME_LETTERS) for _ in range(5))


def random_hex(length: int) -> str:
    return secrets.token_hex(length)[:length]


def name_of(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def namespace_of(obj: Obj) -> str:
    """Empty for objects of the whole cluster."""
    return str(obj["metadata"].get("namespace") or "")


def uid_of(obj: Obj) -> str:
    return str(obj["metadata"]["uid"])


def is_being_deleted(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def with_metadata(obj: Obj, **changes: Any) -> Obj:
    """A copy with metadata fields set; None removes a field."""
    metadata = {**obj["metadata"], **changes}
    return {**obj, "metadata": {name: value for name, value in metadata.items() if value is not None}}


def without_finalizer(obj: Obj, finalizer: str) -> Obj:
    left = [name for name in obj["metadata"].get("finalizers", []) if name != finalizer]
    return with_metadata(obj, finalizers=left or None)


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference marked as controller."""
    for reference in obj["metadata"].get("ownerReferences", []):
        if reference.get("controller"):
            return dict(reference)
    return None


def is_finished_pod(pod: Obj) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def condition(obj: Obj, type_: str) -> Obj | None:
    for entry in obj.get("status", {}).get("conditions") or []:
        if entry["type"] == type_:
            return dict(entry)
    return None


def has_condition(obj: Obj, type_: str) -> bool:
    entry = condition(obj, type_)
    return entry is not None and entry["status"] == "True"


def is_finished_job(job: Obj) -> bool:
    return has_condition(job, "Complete") or has_condition(job, "Failed")
