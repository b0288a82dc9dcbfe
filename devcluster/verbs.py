"""What create, update, patch and delete do to the store; knows no HTTP and plays no controller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devcluster import admission, errors, patches, requests, selectors, updates
from devcluster.cluster import Cluster
from devcluster.deletion import DeleteOptions
from devcluster.objects import Obj, is_being_deleted, name_of, namespace_of, uid_of
from devcluster.requests import Target
from devcluster.resources import NAMESPACES
from devcluster.store import Store


@dataclass(frozen=True)
class Answer:
    body: Obj
    warnings: list[str] = field(default_factory=list)


def existing(store: Store, target: Target) -> Obj:
    """Raises 404."""
    obj = store.get(target.resource.plural, target.namespace, target.name)
    if obj is None:
        raise errors.not_found(target.resource, target.name)
    return obj


def create(store: Store, target: Target, body: Any, query: Mapping[str, str]) -> Answer:
    """Raises 404 for the namespace, 409 for the name, and what admission refuses."""
    admitted = admission.admit(target.resource, body, target.namespace, query.get("fieldValidation", "Warn"))
    if target.resource.is_namespaced and (store.get("namespaces", "", target.namespace) is None):
        raise errors.not_found(NAMESPACES, target.namespace)
    plural = target.resource.plural
    if requests.is_dry_run(query):
        found = store.get(plural, target.namespace, name_of(admitted.obj))
        if found is not None:
            raise errors.already_exists(target.resource, name_of(found), is_being_deleted(found))
        return Answer(admitted.obj, admitted.warnings)
    return Answer(store.create(plural, admitted.obj), admitted.warnings)


def patch(store: Store, target: Target, media_type: str, patch_body: Any, query: Mapping[str, str]) -> Answer:
    before = existing(store, target)
    if media_type == "application/json-patch+json":
        wanted = patches.json_patch(before, patch_body)
    elif media_type == "application/strategic-merge-patch+json":
        wanted = patches.strategic(before, patch_body)
    else:
        wanted = patches.merge(before, patch_body)
    return _store(store, target, before, wanted, query)


def replace(store: Store, target: Target, body: Any, query: Mapping[str, str]) -> Answer:
    return _store(store, target, existing(store, target), body, query)


def _store(store: Store, target: Target, before: Obj, wanted: Obj, query: Mapping[str, str]) -> Answer:
    after = updates.updated(target.resource, before, wanted, target.subresource)
    if requests.is_dry_run(query):
        return Answer(after)
    return Answer(store.update(target.resource.plural, after))


def delete(cluster: Cluster, target: Target, options: DeleteOptions) -> Obj:
    """The Status of an object that is gone, or the object that is on its way; a pod is always itself."""
    options.check()
    obj = existing(cluster.store, target)
    if target.resource is NAMESPACES:
        _empty_namespace(cluster, target.name)
    deleted = cluster.deletion.delete(target.resource.plural, obj, options)
    if not deleted.is_gone or target.resource.plural == "pods":
        return deleted.obj
    details = {
        "name": target.name,
        "group": target.resource.group,
        "kind": target.resource.plural,
        "uid": uid_of(obj),
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {name: value for name, value in details.items() if value},
    }


def delete_collection(
    cluster: Cluster, target: Target, options: DeleteOptions, query: Mapping[str, str]
) -> Obj:
    """The list of what was deleted."""
    options.check()
    matches = selectors.matcher(
        target.resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
    )
    plural = target.resource.plural
    chosen = [obj for obj in cluster.store.items(plural, target.namespace) if matches is None or matches(obj)]
    deleted = [cluster.deletion.delete(plural, obj, options).obj for obj in chosen]
    return {
        "kind": f"{target.resource.kind}List",
        "apiVersion": target.resource.api_version,
        "metadata": {"resourceVersion": str(cluster.store.version)},
        "items": deleted,
    }


def _empty_namespace(cluster: Cluster, namespace: str) -> None:
    """At once, without grace: nobody tries here how a namespace takes its time to end."""
    for plural in ("jobs", "pods", "events"):
        for obj in cluster.store.items(plural, namespace):
            if cluster.store.get(plural, namespace_of(obj), name_of(obj)) is not None:
                cluster.store.remove(plural, obj)
