"""The tables: builds, their history, cancellations, logs, tokens, what goes out, the cluster's freshness."""

from builds.models.access import Access, Scope
from builds.models.build import Build
from builds.models.cancellation import Cancellation
from builds.models.cluster import ClusterBinding, NamespaceSync, WatchLease
from builds.models.event import BuildEvent
from builds.models.log import BuildLog
from builds.models.outgoing import OutgoingEvent
from builds.models.request import IdempotentRequest
from builds.models.token import ApiToken

__all__ = [
    "Access",
    "ApiToken",
    "Build",
    "BuildEvent",
    "BuildLog",
    "Cancellation",
    "ClusterBinding",
    "IdempotentRequest",
    "NamespaceSync",
    "OutgoingEvent",
    "Scope",
    "WatchLease",
]
