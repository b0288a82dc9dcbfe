"""The resources that this server knows, as a table; secrets are there for their refusals only."""

from dataclasses import dataclass

EVERY_VERB = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    singular: str
    kind: str
    is_namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    verbs: tuple[str, ...] = EVERY_VERB

    @property
    def qualified(self) -> str:
        """As error messages name it: jobs.batch, pods."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


JOBS = Resource(
    "batch", "v1", "jobs", "job", "Job", True, (), ("all",), ("status",),
    ("metadata.name", "metadata.namespace", "status.successful"),
)  # fmt: skip
PODS = Resource(
    "", "v1", "pods", "pod", "Pod", True, ("po",), ("all",), ("log", "status"),
    (
        "metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
        "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
        "status.nominatedNodeName",
    ),
)  # fmt: skip
EVENTS = Resource(
    "", "v1", "events", "event", "Event", True, ("ev",), (), (),
    (
        "metadata.name", "metadata.namespace", "involvedObject.kind", "involvedObject.namespace",
        "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
        "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent",
        "source", "type",
    ),
)  # fmt: skip
NAMESPACES = Resource(
    "", "v1", "namespaces", "namespace", "Namespace", False, ("ns",), (), ("status",),
    ("metadata.name", "status.phase"),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)  # fmt: skip
NODES = Resource(
    "",
    "v1",
    "nodes",
    "node",
    "Node",
    False,
    ("no",),
    (),
    ("status",),
    ("metadata.name", "spec.unschedulable"),
)
SECRETS = Resource("", "v1", "secrets", "secret", "Secret", True, verbs=("get", "list"))

STORED = {resource.plural: resource for resource in (JOBS, PODS, EVENTS, NAMESPACES, NODES)}
BY_PATH = {(r.group, r.version, r.plural): r for r in (*STORED.values(), SECRETS)}
