"""Jobs, pods and others as the rows that `kubectl get` prints; it reads objects and changes none."""

from collections.abc import Callable

from devcluster import clock
from devcluster.objects import Obj, has_condition, is_being_deleted, name_of
from devcluster.resources import Resource

Cells = list[object]


def is_wanted(accept: list[str]) -> bool:
    """Whether the client prefers a Table (meta.k8s.io/v1)."""
    parts = [part.strip() for part in accept[0].split(";")]
    return "as=Table" in parts and "v=v1" in parts


def table(resource: Resource, items: list[Obj], metadata: Obj, with_columns: bool = True) -> Obj:
    names, cells = _FORMS.get(resource.plural, (("Name", "Age"), _plain))
    columns = [_column(name) for name in names]
    rows = [{"cells": cells(obj), "object": _partial(obj)} for obj in items]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns if with_columns else None,
        "rows": rows,
    }


def _column(name: str) -> Obj:
    is_name = name == "Name"
    return {
        "name": name,
        "type": "string",
        "format": "name" if is_name else "",
        "description": name,
        "priority": 0,
    }


def _partial(obj: Obj) -> Obj:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _duration(seconds: float) -> str:
    total = int(max(0.0, seconds))
    if total < 120:
        return f"{total}s"
    if total < 3 * 3600:
        minutes, rest = divmod(total, 60)
        return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"
    return f"{total // 3600}h" if total < 48 * 3600 else f"{total // 86400}d"


def _age(obj: Obj) -> str:
    return _duration(clock.now() - clock.parse(obj["metadata"]["creationTimestamp"]))


def _plain(obj: Obj) -> Cells:
    return [name_of(obj), _age(obj)]


def _namespace(obj: Obj) -> Cells:
    return [name_of(obj), obj["status"]["phase"], _age(obj)]


def _job(job: Obj) -> Cells:
    status = job["status"]
    shown = "Running"
    if is_being_deleted(job):
        shown = "Terminating"
    else:
        for condition, text in (
            ("Complete", "Complete"),
            ("Failed", "Failed"),
            ("Suspended", "Suspended"),
            ("FailureTarget", "FailureTarget"),
            ("SuccessCriteriaMet", "SuccessCriteriaMet"),
        ):
            if has_condition(job, condition):
                shown = text
                break
    duration = ""
    if "startTime" in status:
        ended = clock.parse(status["completionTime"]) if "completionTime" in status else clock.now()
        duration = _duration(ended - clock.parse(status["startTime"]))
    completions = f"{status.get('succeeded', 0)}/{job['spec'].get('completions') or 1}"
    return [name_of(job), shown, completions, duration, _age(job)]


def _pod(pod: Obj) -> Cells:
    statuses = pod["status"].get("containerStatuses", [])
    shown = pod["status"].get("reason") or pod["status"]["phase"]
    for status in statuses:
        state = status["state"].get("waiting") or status["state"].get("terminated")
        if state and not pod["status"].get("reason"):
            shown = state["reason"]
    if is_being_deleted(pod):
        shown = "Terminating"
    ready = f"{sum(s['ready'] for s in statuses)}/{len(pod['spec']['containers'])}"
    return [name_of(pod), ready, shown, str(sum(s["restartCount"] for s in statuses)), _age(pod)]


def _event(event: Obj) -> Cells:
    about = event["involvedObject"]
    last = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
    age = _duration(clock.now() - clock.parse(last))
    subject = f"{about['kind'].lower()}/{about['name']}"
    return [age, event.get("type", ""), event.get("reason", ""), subject, event.get("message", "")]


_FORMS: dict[str, tuple[tuple[str, ...], Callable[[Obj], Cells]]] = {
    "jobs": (("Name", "Status", "Completions", "Duration", "Age"), _job),
    "pods": (("Name", "Ready", "Status", "Restarts", "Age"), _pod),
    "events": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
    "namespaces": (("Name", "Status", "Age"), _namespace),
}
