"""Applies merge, strategic-merge and JSON patches to an object; judges no result."""

import copy
from typing import Any

from devcluster import errors
from devcluster.objects import Obj

# Lists of Kubernetes types that a strategic merge patch merges by a key; all others are replaced.
MERGE_KEYS = {"containers": "name", "initContainers": "name", "env": "name", "volumes": "name",
              "volumeMounts": "mountPath", "ownerReferences": "uid", "conditions": "type"}  # fmt: skip


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def strategic(target: Any, patch: Any, field: str = "") -> Any:
    """Kubernetes' own: as merge, but lists with a merge key are merged item by item."""
    if isinstance(patch, list):
        return _strategic_list(target, patch, field)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            list_name = name.partition("/")[2]
            merged[list_name] = [item for item in merged.get(list_name, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = strategic(merged.get(name), value, name)
    return merged


def _strategic_list(target: Any, patch: list[Any], field: str) -> list[Any]:
    key = MERGE_KEYS.get(field)
    if key is None or not isinstance(target, list):
        if field == "finalizers" and isinstance(target, list):
            return target + [item for item in patch if item not in target]
        return patch
    merged = list(target)
    for item in patch:
        places = [i for i, old in enumerate(merged) if old.get(key) == item.get(key)]
        if item.get("$patch") == "delete":
            merged = [old for old in merged if old.get(key) != item.get(key)]
        elif places:
            merged[places[0]] = strategic(merged[places[0]], item)
        else:
            merged.append(item)
    return merged


def json_patch(target: Obj, operations: Any) -> Obj:
    """RFC 6902; raises the 422 of an operation that fails."""
    document: Any = copy.deepcopy(target)
    try:
        for operation in operations:
            document = _apply(document, operation)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        message = "the server rejected our request due to an error in our request"
        raise errors.ApiError(422, "Invalid", message, {}) from error
    return dict(document)


def _apply(document: Any, operation: Obj) -> Any:
    kind, path = operation["op"], _pointer(operation["path"])
    if kind == "test":
        if _resolve(document, path) != operation["value"]:
            raise ValueError(operation["path"])
    elif kind == "remove":
        _remove(document, path)
    elif kind == "replace":
        _resolve(document, path)
        _remove(document, path)
        _add(document, path, operation["value"])
    elif kind == "add":
        _add(document, path, operation["value"])
    elif kind in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_resolve(document, source))
        if kind == "move":
            _remove(document, source)
        _add(document, path, value)
    else:
        raise ValueError(kind)
    return document


def _pointer(text: str) -> list[str]:
    if not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _step(container: Any, part: str) -> Any:
    return container[int(part)] if isinstance(container, list) else container[part]


def _resolve(document: Any, path: list[str]) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _remove(document: Any, path: list[str]) -> None:
    parent = _resolve(document, path[:-1])
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]


def _add(document: Any, path: list[str], value: Any) -> None:
    parent = _resolve(document, path[:-1])
    if not isinstance(parent, list):
        parent[path[-1]] = value
    elif path[-1] == "-":
        parent.append(value)
    else:
        parent.insert(int(path[-1]), value)
