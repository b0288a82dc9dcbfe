"""What an update may change: immutable fields, generation, conflicts; for PUT and every PATCH."""

import json
from typing import Any

from devcluster import errors, schema, validation
from devcluster.errors import Cause
from devcluster.objects import Obj, name_of, with_metadata
from devcluster.resources import JOBS, PODS, Resource

SERVER_METADATA = ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp",
                   "deletionGracePeriodSeconds", "generateName")  # fmt: skip
SCHEDULING = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def updated(resource: Resource, before: Obj, wanted: Obj, subresource: str) -> Obj:
    """The object to store in place of `before`; raises 409 and 422."""
    _check_identity(resource, before, wanted)
    if subresource == "status":
        return {**before, "status": wanted.get("status") or {}}
    metadata = {**wanted.get("metadata", {})}
    for name in (*SERVER_METADATA, "resourceVersion"):
        metadata.pop(name, None)
        if name in before["metadata"]:
            metadata[name] = before["metadata"][name]
    metadata = {name: value for name, value in metadata.items() if value not in (None, {}, [])}
    after = {**wanted, "kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if "status" in before:
        after["status"] = before["status"]
    if resource is JOBS:
        after = _checked_job(before, after)
    elif resource is PODS and after.get("spec") != before.get("spec"):
        _refuse_pod_change(before, after)
    if after.get("spec") != before.get("spec") and "generation" in metadata:
        after = with_metadata(after, generation=metadata["generation"] + 1)
    return after


def _check_identity(resource: Resource, before: Obj, wanted: Obj) -> None:
    given, name = wanted.get("metadata", {}), name_of(before)
    if given.get("resourceVersion") not in (None, "", before["metadata"]["resourceVersion"]):
        raise errors.modified_meanwhile(resource, name)
    for field in ("uid", "name"):
        if given.get(field) not in (None, "", before["metadata"][field]):
            message = f'Invalid value: "{given[field]}": field is immutable'
            cause = Cause("FieldValueInvalid", message, f"metadata.{field}")
            raise errors.invalid(resource.kind, resource.group, name, [cause])


def _checked_job(before: Obj, after: Obj) -> Obj:
    cleaned, _ = schema.clean(after, schema.JOB)
    old, new = before["spec"], cleaned.get("spec", {})
    causes = validation.negative_causes(new)
    if new.get("template") != old["template"] and not _changes_only_scheduling(before, old, new):
        causes.append(_immutable("spec.template", _as_go(new.get("template", {}))))
    for field in ("completions", "selector", "completionMode", "podFailurePolicy"):
        if new.get(field) != old.get(field):
            causes.append(_immutable(f"spec.{field}", new.get(field)))
    if causes:
        raise errors.invalid("Job", "batch", name_of(before), causes)
    return cleaned


def _as_go(template: Obj) -> Obj:
    """The message shows the template as a Go struct: the metadata's fields stand beside the spec."""
    return {**template.get("metadata", {}), "spec": template.get("spec", {})}


def _immutable(path: str, value: Any) -> Cause:
    shown = json.dumps(value, separators=(",", ":"))
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: field is immutable", path)


def _changes_only_scheduling(before: Obj, old: Obj, new: Obj) -> bool:
    """Where the pods run may change while a Job is suspended and has never started."""
    if not old.get("suspend") or "startTime" in before["status"]:
        return False

    def rest(template: Obj) -> Obj:
        spec = template.get("spec", {})
        return {name: value for name, value in spec.items() if name not in SCHEDULING}

    return rest(old["template"]) == rest(new.get("template", {}))


def _refuse_pod_change(before: Obj, after: Obj) -> None:
    old, new = before.get("spec", {}), after.get("spec", {})
    allowed = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    if {k: v for k, v in old.items() if k not in allowed} == {
        k: v for k, v in new.items() if k not in allowed
    }:
        return
    message = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
        "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
        "(allow it to be set to 1 if it was previously negative)"
    )
    raise errors.invalid("Pod", "", name_of(before), [Cause("FieldValueForbidden", message, "spec")])
