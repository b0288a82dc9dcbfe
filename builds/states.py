"""The words for a build's state and the edges between them; no I/O."""

from django.db import models


class Status(models.TextChoices):
    """Where a build is.

    none -> any; pending -> running, succeeded, failed, cancelling; running -> succeeded, failed, cancelling;
    cancelling -> cancelled, succeeded, failed. The last three absorb.
    """

    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


ACTIVE = frozenset({Status.PENDING, Status.RUNNING, Status.CANCELLING})
FINISHED = frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED})
CANCELLABLE = frozenset({Status.PENDING, Status.RUNNING})

EDGES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.CANCELLING}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLING}),
    Status.CANCELLING: FINISHED,
    Status.CANCELLED: frozenset(),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
}


class Reason(models.TextChoices):
    """Why a build is where it is; which words go with which status stands in REASONS."""

    UNSCHEDULED = "unscheduled"
    PULLING = "pulling"
    IMAGE_PULL = "image_pull"
    CONFIG_ERROR = "config_error"
    SUSPENDED = "suspended"
    QUEUED = "queued"
    RETRYING = "retrying"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM_KILLED = "oom_killed"
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    DELETED = "deleted"
    LOST = "lost"


REASONS: dict[Status, frozenset[Reason]] = {
    Status.PENDING: frozenset(
        {
            Reason.UNSCHEDULED,
            Reason.PULLING,
            Reason.IMAGE_PULL,
            Reason.CONFIG_ERROR,
            Reason.SUSPENDED,
            Reason.QUEUED,
        }
    ),
    Status.RUNNING: frozenset({Reason.SUSPENDED, Reason.RETRYING}),
    Status.CANCELLING: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(
        {
            Reason.ERROR,
            Reason.TIMEOUT,
            Reason.OOM_KILLED,
            Reason.IMAGE_PULL,
            Reason.EVICTED,
            Reason.NODE_LOST,
            Reason.DELETED,
            Reason.LOST,
        }
    ),
}

# What the API and the pages accept as `status`, beside the six words themselves.
GROUPS: dict[str, frozenset[Status]] = {
    "active": ACTIVE,
    "finished": FINISHED,
    "completed": frozenset({Status.SUCCEEDED}),
}


def can_move(origin: Status, target: Status) -> bool:
    """Whether the edge exists."""
    return target in EDGES[origin]
