"""What clients ask before they ask for objects: versions, groups, resources, health; it knows no object."""

from typing import Any

from devcluster.objects import Obj
from devcluster.resources import STORED

NOTICE = "devcluster: a stand-in for trying and testing, not Kubernetes"
VERSION: dict[str, str] = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2-standin",
    "gitCommit": "devcluster-stand-in-not-kubernetes",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "stand-in",
}
HEALTH_PATHS = ("/readyz", "/livez", "/healthz", "/livez/etcd")


def document(path: str) -> Obj | None:
    """The discovery document at the path; None when there is none."""
    group_version = {"groupVersion": "batch/v1", "version": "v1"}
    batch: Obj = {"name": "batch", "versions": [group_version], "preferredVersion": group_version}
    documents: dict[str, Any] = {
        "/": {"paths": ["/api", "/api/v1", "/apis", "/apis/batch", "/apis/batch/v1", "/healthz", "/livez",
                        "/readyz", "/version"]},
        "/version": VERSION,
        "/api": {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
        },
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [batch]},
        "/apis/batch": {"kind": "APIGroup", "apiVersion": "v1", **batch},
        "/api/v1": _resources("", "v1"),
        "/apis/batch/v1": _resources("batch", "batch/v1"),
    }  # fmt: skip
    found: Obj | None = documents.get(path.rstrip("/") or "/")
    return found


def _resources(group: str, group_version: str) -> Obj:
    listed: list[Obj] = []
    for resource in STORED.values():
        if resource.group != group:
            continue
        entry: Obj = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.is_namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for subresource in resource.subresources:
            verbs = ["get"] if subresource == "log" else ["get", "patch", "update"]
            name = f"{resource.plural}/{subresource}"
            part = {"name": name, "singularName": "", "namespaced": resource.is_namespaced}
            listed.append({**part, "kind": resource.kind, "verbs": verbs})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}
