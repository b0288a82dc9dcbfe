"""Reads a request: which resource the path names, which options are given; touches no object."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from devcluster import errors
from devcluster.deletion import DeleteOptions
from devcluster.errors import ApiError, Cause
from devcluster.resources import BY_PATH, NAMESPACES, Resource

BODY_LIMIT_BYTES = 3 * 1024 * 1024
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
BODY_TYPES = ("application/json", "application/yaml")


@dataclass(frozen=True)
class Target:
    """What the path names. `name` is empty for a collection, `namespace` for the whole cluster."""

    resource: Resource
    namespace: str
    name: str
    subresource: str
    is_watch: bool


def target(path: str) -> Target:
    """Raises the 404 of a path that names no resource."""
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise errors.unknown_path()
    is_watch = rest[0] == "watch" and len(rest) > 1
    rest = rest[1:] if is_watch else rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in NAMESPACES.subresources:
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0]))
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if resource is None or len(rest) > 3 or (subresource and subresource not in resource.subresources):
        raise errors.unknown_path()
    if resource.is_namespaced and name and not namespace:
        raise errors.unknown_path()
    return Target(resource, namespace, name, subresource, is_watch)


def integer(query: Mapping[str, str], name: str) -> int | None:
    """None when absent; raises the 400 of text that is no number."""
    text = query.get(name, "")
    if text == "":
        return None
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t")


def is_dry_run(query: Mapping[str, str]) -> bool:
    return query.get("dryRun") == "All"


def decode(raw: bytes, content_type: str, kind: str) -> Any:
    """The body of a POST or PUT; raises 400, 413 and 415."""
    check_size(raw)
    media_type = content_type.partition(";")[0].strip() or "application/json"
    if media_type not in BODY_TYPES:
        accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        message = (
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
        raise ApiError(415, "UnsupportedMediaType", message)
    if media_type == "application/yaml":
        try:
            return yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise errors.bad_request(f"error parsing the body as YAML: {error}") from error
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(_unrecognized(kind, _json_complaint(raw), _shown(raw))) from error
    if isinstance(body, dict):
        return body
    complaint = (
        "json: cannot unmarshal array into Go value of type struct "
        '{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
    )
    raise errors.bad_request(_unrecognized(kind, complaint, raw[:64].hex()))


def _unrecognized(kind: str, complaint: str, shown: str) -> str:
    what = f"the object provided is unrecognized (must be of type {kind})"
    return f"{what}: couldn't get version/kind; json parse error: {complaint} ({shown})"


def _shown(raw: bytes) -> str:
    return raw[:64].decode(errors="replace") or "<empty>"


def _json_complaint(raw: bytes) -> str:
    if not raw.strip():
        return "unexpected end of JSON input"
    match = re.match(rb"\s*\{\s*([^\s\"}])", raw)
    if match:
        return f"invalid character '{match.group(1).decode()}' looking for beginning of object key string"
    return f"invalid character '{raw.strip()[:1].decode(errors='replace')}' looking for beginning of value"


def check_size(raw: bytes) -> None:
    if len(raw) > BODY_LIMIT_BYTES:
        message = f"Request entity too large: limit is {BODY_LIMIT_BYTES}"
        raise ApiError(413, "RequestEntityTooLarge", message)


def decode_patch(raw: bytes, content_type: str) -> tuple[str, Any]:
    """The kind of patch (its media type) and its content; raises 400 and 415."""
    check_size(raw)
    media_type = content_type.partition(";")[0].strip()
    if media_type not in PATCH_TYPES:
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    try:
        patch = json.loads(raw)
    except ValueError as error:
        raise errors.bad_request(f"error decoding patch: {_json_complaint(raw)}") from error
    if isinstance(patch, list) != (media_type == PATCH_TYPES[0]):
        raise errors.bad_request(f"error decoding patch: not a {media_type}")
    return media_type, patch


def delete_options(query: Mapping[str, str], raw: bytes, content_type: str) -> DeleteOptions:
    """The body wins over the query; raises 400 and 422."""
    body = decode(raw, content_type, "DeleteOptions") if raw.strip() else {}
    preconditions = body.get("preconditions") or {}
    propagation = body.get("propagationPolicy", query.get("propagationPolicy"))
    if propagation is not None and body.get("orphanDependents") is not None:
        message = (
            f'Invalid value: "{propagation}": orphanDependents and deletionPropagation cannot be both set'
        )
        cause = Cause("FieldValueInvalid", message, "propagationPolicy")
        raise errors.invalid_options("DeleteOptions", cause)
    if body.get("orphanDependents") is not None:
        propagation = "Orphan" if body["orphanDependents"] else "Background"
    grace_s = body.get("gracePeriodSeconds")
    return DeleteOptions(
        propagation=propagation,
        grace_s=integer(query, "gracePeriodSeconds") if grace_s is None else int(grace_s),
        uid=preconditions.get("uid"),
        version=preconditions.get("resourceVersion"),
        is_dry_run=is_dry_run(query) or body.get("dryRun") == ["All"],
    )
