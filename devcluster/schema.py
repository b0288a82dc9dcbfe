"""The fields of a Job and their types: finds wrong types, drops unknown fields; checks no values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devcluster import errors

QUANTITY = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
GO_NAMES = {"string": "string", "int32": "int32", "int64": "int64", "bool": "bool"}


@dataclass(frozen=True)
class Struct:
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ListOf:
    item: Any


@dataclass(frozen=True)
class MapOf:
    item: Any


# A part that is accepted as it is: nothing here looks into it.
ANYTHING = object()


def _open(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), ANYTHING)


METADATA = Struct(
    "ObjectMeta",
    {
        "name": "string", "generateName": "string", "namespace": "string", "uid": "string",
        "resourceVersion": "string", "labels": MapOf("string"), "annotations": MapOf("string"),
        "finalizers": ListOf("string"), "generation": "int64",
        **_open("ownerReferences managedFields creationTimestamp deletionTimestamp selfLink "
                "deletionGracePeriodSeconds"),
    },
)  # fmt: skip
RESOURCES = Struct(
    "ResourceRequirements",
    {"limits": MapOf("quantity"), "requests": MapOf("quantity"), "claims": ANYTHING},
)
ENV = Struct("EnvVar", {"name": "string", "value": "string", "valueFrom": ANYTHING})
CONTAINER = Struct(
    "Container",
    {
        "name": "string", "image": "string", "command": ListOf("string"), "args": ListOf("string"),
        "workingDir": "string", "env": ListOf(ENV), "resources": RESOURCES, "imagePullPolicy": "string",
        "terminationMessagePath": "string", "terminationMessagePolicy": "string", "restartPolicy": "string",
        "stdin": "bool", "stdinOnce": "bool", "tty": "bool",
        **_open("ports envFrom volumeMounts volumeDevices livenessProbe readinessProbe startupProbe "
                "lifecycle securityContext resizePolicy restartPolicyRules"),
    },
)  # fmt: skip
POD_SPEC = Struct(
    "PodSpec",
    {
        "containers": ListOf(CONTAINER), "initContainers": ListOf(CONTAINER), "restartPolicy": "string",
        "activeDeadlineSeconds": "int64", "terminationGracePeriodSeconds": "int64", "dnsPolicy": "string",
        "nodeSelector": MapOf("string"), "serviceAccountName": "string", "serviceAccount": "string",
        "automountServiceAccountToken": "bool", "nodeName": "string", "hostNetwork": "bool",
        "hostPID": "bool", "hostIPC": "bool", "hostname": "string", "subdomain": "string",
        "schedulerName": "string", "priorityClassName": "string", "priority": "int32",
        "enableServiceLinks": "bool", "runtimeClassName": "string", "preemptionPolicy": "string",
        "hostUsers": "bool", "shareProcessNamespace": "bool", "setHostnameAsFQDN": "bool",
        **_open("volumes ephemeralContainers securityContext imagePullSecrets affinity tolerations "
                "hostAliases dnsConfig readinessGates overhead topologySpreadConstraints os schedulingGates "
                "resourceClaims resources hostnameOverride workloadRef"),
    },
)  # fmt: skip
POD_TEMPLATE = Struct("PodTemplateSpec", {"metadata": METADATA, "spec": POD_SPEC})
JOB_SPEC = Struct(
    "JobSpec",
    {
        "parallelism": "int32", "completions": "int32", "activeDeadlineSeconds": "int64",
        "backoffLimit": "int32", "backoffLimitPerIndex": "int32", "maxFailedIndexes": "int32",
        "manualSelector": "bool", "template": POD_TEMPLATE, "ttlSecondsAfterFinished": "int32",
        "completionMode": "string", "suspend": "bool", "podReplacementPolicy": "string",
        "managedBy": "string",
        **_open("podFailurePolicy successPolicy selector"),
    },
)  # fmt: skip
TYPE_META = {"apiVersion": "string", "kind": "string"}
JOB = Struct("Job", {**TYPE_META, "metadata": METADATA, "spec": JOB_SPEC, "status": ANYTHING})
POD = Struct("Pod", {**TYPE_META, "metadata": METADATA, "spec": POD_SPEC, "status": ANYTHING})


class _Walk:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.unknown: list[str] = []

    def clean(self, value: Any, type_: Any, path: str, owner: str) -> Any:
        if type_ is ANYTHING:
            return value
        if isinstance(type_, Struct):
            self._expect(value, dict, path, owner, f"v1.{type_.name}")
            return self._struct(value, type_, path)
        if isinstance(type_, ListOf):
            self._expect(value, list, path, owner, "[]" + _go_name(type_.item))
            return [self.clean(item, type_.item, path, owner) for item in value]
        if isinstance(type_, MapOf):
            self._expect(value, dict, path, owner, "map[string]" + _go_name(type_.item))
            return {key: self.clean(item, type_.item, path, owner) for key, item in value.items()}
        self._scalar(value, type_, path, owner)
        return value

    def _struct(self, value: dict[str, Any], type_: Struct, path: str) -> dict[str, Any]:
        kept = {}
        for name, item in value.items():
            inner = f"{path}.{name}" if path else name
            if name not in type_.fields:
                self.unknown.append(inner)
            elif item is not None:
                kept[name] = self.clean(item, type_.fields[name], inner, type_.name)
        return kept

    def _scalar(self, value: Any, type_: str, path: str, owner: str) -> None:
        if type_ == "quantity":
            if isinstance(value, bool) or not re.match(QUANTITY, str(value)):
                expression = f"quantities must match the regular expression '{QUANTITY}'"
                raise self._cannot_be_handled(expression)
            return
        wanted: type = {"string": str, "bool": bool}.get(type_, int)
        if wanted is int and isinstance(value, bool):
            raise self._wrong_type(value, path, owner, type_)
        self._expect(value, wanted, path, owner, GO_NAMES[type_])

    def _expect(self, value: Any, wanted: type, path: str, owner: str, go_type: str) -> None:
        if not isinstance(value, wanted):
            raise self._wrong_type(value, path, owner, go_type)

    def _wrong_type(self, value: Any, path: str, owner: str, go_type: str) -> errors.ApiError:
        kinds = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
        found = kinds.get(type(value), "null")
        where = f"Go struct field {owner}.{path}"
        return self._cannot_be_handled(f"json: cannot unmarshal {found} into {where} of type {go_type}")

    def _cannot_be_handled(self, reason: str) -> errors.ApiError:
        message = f'{self._kind} in version "v1" cannot be handled as a {self._kind}: {reason}'
        return errors.bad_request(message)


def _go_name(type_: Any) -> str:
    if isinstance(type_, Struct):
        return f"v1.{type_.name}"
    return "resource.Quantity" if type_ == "quantity" else GO_NAMES.get(type_, "interface {}")


def clean(body: Any, type_: Struct) -> tuple[dict[str, Any], list[str]]:
    """The body without unknown fields and nulls, and the former's paths; raises 400 on wrong types."""
    walk = _Walk(type_.name)
    cleaned = walk.clean(body, type_, "", type_.name)
    return cleaned, walk.unknown
