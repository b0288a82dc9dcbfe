"""A build's state in words and as a badge, for the pages and the admin; it formats and asks nothing."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from builds.models import Build
from builds.states import Reason, Status

register = template.Library()

# Outlines on a 16-unit square; the word stands beside each: no state is told by colour or shape alone.
_RING = "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11"
_SHAPES: dict[str, str] = {
    Status.PENDING: f"{_RING}M8 5v3.2l2 1.3",
    Status.RUNNING: "M5.5 3.8v8.4L12 8z",
    Status.CANCELLING: f"{_RING}M5.8 8h4.4",
    Status.CANCELLED: f"{_RING}M4.2 11.8l7.6-7.6",
    Status.SUCCEEDED: "M3.5 8.5l3 3 6-7",
    Status.FAILED: "M4.5 4.5l7 7m0-7l-7 7",
}

_REASON_LABELS: dict[str, str] = {
    Reason.UNSCHEDULED: "no node has room",
    Reason.PULLING: "fetching images",
    Reason.IMAGE_PULL: "image not available",
    Reason.CONFIG_ERROR: "faulty configuration",
    Reason.SUSPENDED: "suspended",
    Reason.QUEUED: "waiting its turn",
    Reason.RETRYING: "trying again",
    Reason.ERROR: "error",
    Reason.TIMEOUT: "timed out",
    Reason.OOM_KILLED: "out of memory",
    Reason.EVICTED: "evicted",
    Reason.NODE_LOST: "node lost",
    Reason.DELETED: "Job deleted",
    Reason.LOST: "Job vanished",
}

_STATUS_SENTENCES: dict[str, str] = {
    Status.PENDING: "The Job exists; its build container has not started yet.",
    Status.RUNNING: "The build container has started.",
    Status.CANCELLING: "Somebody asked to cancel it. The portal keeps trying until the cluster confirms.",
    Status.CANCELLED: "This build was cancelled, and its Job is gone from the cluster.",
    Status.SUCCEEDED: "The image was built.",
    Status.FAILED: "The build did not succeed.",
}

_REASON_SENTENCES: dict[tuple[str, str], str] = {
    (Status.PENDING, Reason.UNSCHEDULED): "No node of the cluster has room for this build yet.",
    (Status.PENDING, Reason.PULLING): "A node is fetching the images that the build needs.",
    (
        Status.PENDING,
        Reason.IMAGE_PULL,
    ): "An image that the build needs cannot be fetched; the cluster keeps trying.",
    (Status.PENDING, Reason.CONFIG_ERROR): "The pod cannot start because its configuration is faulty.",
    (Status.PENDING, Reason.SUSPENDED): "The Job is suspended; it starts when somebody resumes it.",
    (Status.PENDING, Reason.QUEUED): "The build waits for its turn; no Job has been created yet.",
    (Status.RUNNING, Reason.SUSPENDED): "The Job was suspended after it had started.",
    (Status.RUNNING, Reason.RETRYING): "A first try failed; the cluster is trying again.",
    (Status.FAILED, Reason.ERROR): "The build ended with an error.",
    (Status.FAILED, Reason.TIMEOUT): "The build took longer than its time limit and was stopped.",
    (Status.FAILED, Reason.OOM_KILLED): "The build used more memory than it may and was stopped.",
    (Status.FAILED, Reason.IMAGE_PULL): "An image that the build needs could not be fetched.",
    (Status.FAILED, Reason.EVICTED): "The node was short of something and evicted the build.",
    (Status.FAILED, Reason.NODE_LOST): "The node that ran the build was lost.",
    (Status.FAILED, Reason.DELETED): "Somebody deleted the Job outside of the portal.",
    (Status.FAILED, Reason.LOST): "The Job vanished from the cluster without a trace of its outcome.",
}


@register.filter
def status_label(status: str | None) -> str:
    """The state as a word; an unknown one as it stands."""
    return Status(status).label if status in Status.values else status or "first seen"


@register.filter
def reason_label(reason: str | None) -> str:
    """A status reason in a few words, empty for none."""
    return _REASON_LABELS.get(reason or "", reason or "")


@register.filter
def state_sentence(build: Build) -> str:
    """Where the build is and why, in one sentence."""
    found = _REASON_SENTENCES.get((build.status, build.status_reason or ""))
    return found or _STATUS_SENTENCES.get(build.status, "")


@register.filter
def status_badge(status: str) -> SafeString:
    """The state's word with its shape; colours come from badges.css."""
    return format_html(
        '<span class="badge badge-{}"><svg class="badge-shape" viewBox="0 0 16 16" aria-hidden="true" '
        'focusable="false"><path d="{}"/></svg>{}</span>',
        status,
        _SHAPES.get(status, ""),
        status_label(status),
    )


_LOG_ABSENCES = {
    "not_created": "The Job has not been created yet.",
    "pod_initializing": "The build container has not started yet.",
    "image_pull": "An image of the pod cannot be fetched, so nothing has run yet.",
    "other": "The build container is waiting to start.",
    "never_started": "No pod of the build ever started.",
    "pod_gone": "The pod is gone.",
    "unreachable": "The cluster could not be asked for the log.",
}


@register.filter
def log_absence(reason: str | None) -> str:
    """Why there is no log, or no newer line of it, in words; a code without words as it stands."""
    return _LOG_ABSENCES.get(reason or "", reason or "")
