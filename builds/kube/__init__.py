"""The gateway to the cluster: the one room that speaks to the Kubernetes API; it knows nothing of builds or
settings.
"""

from builds.kube.cluster import Cluster, ClusterConfig
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
    ListOf,
    PodSnapshot,
)

__all__ = [
    "AlreadyExists",
    "Cluster",
    "ClusterConfig",
    "ClusterError",
    "ClusterUnreachable",
    "Condition",
    "Conflict",
    "ContainerSnapshot",
    "ContainerSpec",
    "EventSnapshot",
    "Forbidden",
    "JobSnapshot",
    "ListOf",
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
