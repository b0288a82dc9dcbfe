"""The gateway to the cluster: the one room that speaks to the Kubernetes API; it knows nothing of builds or settings."""

from builds.kube.errors import (
    AlreadyExists,
    ClusterError,
    ClusterUnreachable,
    Conflict,
    Forbidden,
    LogUnavailable,
    Malformed,
    NotFound,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
    VersionExpired,
)
from builds.kube.snapshot import (
    Condition,
    ContainerSnapshot,
    ContainerSpec,
    EventSnapshot,
    JobSnapshot,
    Listing,
    PodSnapshot,
)

__all__ = [
    "AlreadyExists",
    "ClusterError",
    "ClusterUnreachable",
    "Condition",
    "Conflict",
    "ContainerSnapshot",
    "ContainerSpec",
    "EventSnapshot",
    "Forbidden",
    "JobSnapshot",
    "Listing",
    "LogUnavailable",
    "Malformed",
    "NotFound",
    "PodSnapshot",
    "Rejected",
    "ServerFault",
    "Throttled",
    "Unauthorized",
    "VersionExpired",
]
