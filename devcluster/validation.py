"""Whether the values of a Job or a container are allowed: causes for a 422; changes and stores nothing."""

import json
import re
from typing import Any

from devcluster.errors import Cause
from devcluster.objects import Obj

SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
ANNOTATIONS_LIMIT_BYTES = 256 * 1024
FACTORS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def object_causes(metadata: Obj, spec: Obj) -> list[Cause]:
    name = metadata["name"]
    causes: list[Cause] = []
    if not re.fullmatch(SUBDOMAIN, name):
        message = (
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case '
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
            f"(e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
        )
        causes.append(Cause("FieldValueInvalid", message, "metadata.name"))
    size = sum(len(k) + len(v) for k, v in metadata.get("annotations", {}).items())
    if size > ANNOTATIONS_LIMIT_BYTES:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT_BYTES} bytes"
        causes.append(Cause("FieldValueTooLong", message, "metadata.annotations"))
    causes += _label_causes(metadata.get("labels", {}), "metadata.labels")
    causes += negative_causes(spec)
    return causes


def negative_causes(spec: Obj) -> list[Cause]:
    """Numbers of a Job's spec that may not be below 0."""
    names = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    return [
        Cause(
            "FieldValueInvalid",
            f"Invalid value: {spec[name]}: must be greater than or equal to 0",
            f"spec.{name}",
        )
        for name in names
        if spec.get(name, 0) < 0
    ]


def _label_causes(labels: dict[str, str], path: str) -> list[Cause]:
    causes = []
    for value in labels.values():
        if len(value) > 63:
            message = f'Invalid value: "{value}": must be no more than 63 bytes'
            causes.append(Cause("FieldValueInvalid", message, path))
        if not re.fullmatch(LABEL_VALUE, value):
            message = (
                f'Invalid value: "{value}": a valid label must be an empty string or consist of alphanumeric '
                "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
                "'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                f"'{LABEL_VALUE}')"
            )
            causes.append(Cause("FieldValueInvalid", message, path))
    return causes


def _selector_causes(spec: Obj) -> list[Cause]:
    """A Job's own selector is refused unless it says that it wants one."""
    selector = (spec.get("selector") or {}).get("matchLabels", {})
    if len(selector) <= 1 or spec.get("manualSelector"):
        return []
    labels = spec["template"]["metadata"].get("labels", {})
    texts = [json.dumps(value, separators=(",", ":"), sort_keys=True) for value in (spec["selector"], labels)]
    causes = [
        Cause(
            "FieldValueInvalid", f"Invalid value: {texts[0]}: `selector` not auto-generated", "spec.selector"
        )
    ]
    if not selector.items() <= labels.items():
        message = f"Invalid value: {texts[1]}: `selector` does not match template `labels`"
        causes.append(Cause("FieldValueInvalid", message, "spec.template.metadata.labels"))
    return causes


def spec_causes(spec: Obj) -> list[Cause]:
    template = spec["template"]
    causes = _selector_causes(spec)
    causes += _label_causes(template["metadata"].get("labels", {}), "spec.template.labels")
    pod = template["spec"]
    if not pod.get("containers"):
        causes.append(Cause("FieldValueRequired", "Required value", "spec.template.spec.containers"))
    for index, container in enumerate(pod.get("containers", [])):
        causes += container_causes(container, f"spec.template.spec.containers[{index}]")
    if pod["restartPolicy"] not in ("OnFailure", "Never"):
        message = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(Cause("FieldValueRequired", message, "spec.template.spec.restartPolicy"))
    return causes


def container_causes(container: Obj, path: str) -> list[Cause]:
    causes = [
        Cause("FieldValueRequired", "Required value", f"{path}.{name}")
        for name in ("name", "image")
        if not container.get(name)
    ]
    resources = container.get("resources") or {}
    for name, limit in (resources.get("limits") or {}).items():
        request = (resources.get("requests") or {}).get(name)
        if request is not None and _quantity(request) > _quantity(limit):
            message = f'Invalid value: "{request}": must be less than or equal to {name} limit of {limit}'
            causes.append(Cause("FieldValueInvalid", message, f"{path}.resources.requests"))
    return causes


def _quantity(text: Any) -> float:
    match = re.fullmatch(r"([+-]?[0-9.]+)([A-Za-z]*)", str(text))
    return float(match.group(1)) * FACTORS.get(match.group(2), 1.0) if match else 0.0
