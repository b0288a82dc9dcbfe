"""Makes an object of a request body: defaults, generated fields and refusals; stores nothing."""

import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from devcluster import clock, errors, podstatus, schema, validation
from devcluster.errors import Cause
from devcluster.objects import Obj, random_suffix
from devcluster.resources import EVENTS, JOBS, NAMESPACES, PODS, Resource

# Set by the server alone; what a client sends for them is dropped.
SERVER_FIELDS = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields", "selfLink",
)  # fmt: skip


@dataclass(frozen=True)
class Admitted:
    obj: Obj
    warnings: list[str] = field(default_factory=list)


def admit(resource: Resource, body: Any, namespace: str, field_validation: str) -> Admitted:
    """Raises the 400s and 422s of a body that cannot become an object."""
    if not isinstance(body, dict):
        raise errors.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    _check_type(resource, body)
    if resource is JOBS:
        return _admit_job(body, namespace, field_validation)
    if resource is PODS:
        cleaned, _ = schema.clean(body, schema.POD)
        return Admitted(_pod(cleaned, namespace))
    if resource is EVENTS:
        return Admitted(_event(body, namespace))
    if resource is NAMESPACES:
        return Admitted(namespace_named(str((body.get("metadata") or {}).get("name", ""))))
    raise errors.method_not_allowed()


def namespace_named(name: str) -> Obj:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        rule = "a lowercase RFC 1123 label must consist of lower case letters, digits or -"
        message = f'Invalid value: "{name}": {rule}'
        raise errors.invalid("Namespace", "", name, [Cause("FieldValueInvalid", message, "metadata.name")])
    metadata = _metadata({"name": name, "labels": {"kubernetes.io/metadata.name": name}}, NAMESPACES, "")
    metadata.pop("namespace", None)
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _check_type(resource: Resource, body: Obj) -> None:
    kind, version = body.get("kind"), body.get("apiVersion")
    if kind in (None, resource.kind) and version in (None, resource.api_version):
        return
    kind = kind or resource.kind
    short_version = str(version or resource.api_version).rpartition("/")[2]
    message = (
        f'{kind} in version "{short_version}" cannot be handled as a {resource.kind}: converting '
        f"({short_version}.{kind}) to ({resource.group or 'core'}.{resource.kind}): unknown conversion"
    )
    raise errors.bad_request(message)


def _metadata(given: Obj, resource: Resource, namespace: str) -> Obj:
    """The metadata of a new object. Raises when neither name nor generateName is there."""
    if namespace and given.get("namespace") not in (None, "", namespace):
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata = {name: value for name, value in given.items() if name not in SERVER_FIELDS}
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            cause = Cause(
                "FieldValueRequired", "Required value: name or generateName is required", "metadata.name"
            )
            raise errors.invalid(resource.kind, resource.group, "", [cause])
        metadata["name"] = str(metadata["generateName"])[:58] + random_suffix()
    stamped = {
        "name": metadata.pop("name"),
        "generateName": metadata.pop("generateName", None),
        "namespace": namespace or None,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": clock.stamp(clock.now()),
    }
    metadata.pop("namespace", None)
    return {name: value for name, value in (stamped | metadata).items() if value not in (None, {}, [])}


# Jobs.


def _admit_job(body: Obj, namespace: str, field_validation: str) -> Admitted:
    job, unknown = schema.clean(body, schema.JOB)
    if unknown and field_validation == "Strict":
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise errors.bad_request(
            f'Job in version "v1" cannot be handled as a Job: strict decoding error: {listed}'
        )
    metadata = _metadata(job.get("metadata", {}), JOBS, namespace)
    metadata["generation"] = 1
    spec = _defaulted_spec(job.get("spec", {}))
    causes = validation.object_causes(metadata, spec)
    _generate_labels(metadata, spec)
    causes += validation.spec_causes(spec)
    if causes:
        raise errors.invalid("Job", "batch", metadata["name"], causes)
    warnings = [f'unknown field "{path}"' for path in unknown] if field_validation != "Ignore" else []
    if "." in metadata["name"]:
        warnings.append(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
            "behavior; a DNS label is recommended: [must not contain dots]"
        )
    obj = {"kind": "Job", "apiVersion": "batch/v1", "metadata": metadata, "spec": spec, "status": {}}
    return Admitted(obj, warnings)


def _defaulted_spec(given: Obj) -> Obj:
    defaults: Obj = {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "Failed" if given.get("podFailurePolicy") else "TerminatingOrFailed",
        "manualSelector": False,
        "template": {},
    }
    spec = defaults | given
    if "parallelism" not in spec and "completions" not in spec:
        spec |= {"parallelism": 1, "completions": 1}
    spec.setdefault("parallelism", 1)
    template = spec["template"]
    spec["template"] = {
        "metadata": template.get("metadata", {}),
        "spec": defaulted_pod_spec(template.get("spec", {})),
    }
    return spec


def defaulted_pod_spec(given: Obj) -> Obj:
    defaults: Obj = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    spec = defaults | given
    for name in ("containers", "initContainers"):
        if name in spec:
            spec[name] = [_defaulted_container(container) for container in spec[name]]
    return spec


def _defaulted_container(given: Obj) -> Obj:
    image = str(given.get("image", ""))
    is_latest = "@" not in image and (image.endswith(":latest") or ":" not in image.rpartition("/")[2])
    defaults: Obj = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always" if is_latest else "IfNotPresent",
    }
    return defaults | given


def _generate_labels(metadata: Obj, spec: Obj) -> None:
    """The selector and four labels of the template; a Job without labels takes over the template's."""
    if spec.get("manualSelector"):
        return
    uid, name = metadata["uid"], metadata["name"]
    generated = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template = spec["template"]["metadata"]
    spec["template"]["metadata"] = {**template, "labels": {**template.get("labels", {}), **generated}}
    own = (spec.get("selector") or {}).get("matchLabels", {})
    spec["selector"] = {"matchLabels": {**own, "batch.kubernetes.io/controller-uid": uid}}
    if not metadata.get("labels"):
        metadata["labels"] = spec["template"]["metadata"]["labels"]


# Other kinds.


def _pod(given: Obj, namespace: str) -> Obj:
    metadata = _metadata(given.get("metadata", {}), PODS, namespace)
    metadata["generation"] = 1
    spec = defaulted_pod_spec(given.get("spec", {}))
    causes = [
        Cause("FieldValueRequired", "Required value", "spec.containers")
        for _ in range(not spec.get("containers"))
    ]
    for index, container in enumerate(spec.get("containers", [])):
        causes += validation.container_causes(container, f"spec.containers[{index}]")
    if causes:
        raise errors.invalid("Pod", "", metadata["name"], causes)
    status = {"phase": "Pending", "qosClass": podstatus.qos_class(spec)}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}


def _event(given: Obj, namespace: str) -> Obj:
    metadata = _metadata(given.get("metadata") or {}, EVENTS, namespace)
    about = given.get("involvedObject") or {}
    if about.get("namespace", "default") != namespace:
        message = f'Invalid value: "{about.get("namespace", "")}": does not match event.namespace'
        cause = Cause("FieldValueInvalid", message, "involvedObject.namespace")
        raise errors.invalid("Event", "", metadata["name"], [cause])
    defaults: Obj = {
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    }
    return {**defaults, **given, "kind": "Event", "apiVersion": "v1", "metadata": metadata}
