"""Everything that one build's page shows, read in a constant number of queries."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from builds import actions
from builds.models import Access, Build, BuildEvent, BuildLog, Cancellation, OutgoingEvent
from builds.models.outgoing import TYPE_PREFIX

EVENTS_SHOWN = 100
ATTEMPTS_SHOWN = 20

# How long after its end a build may still get its last lines and the word that its pods are gone.
_SETTLING = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class BuildPage:
    """`refusal` says why this person may not cancel now; None: they may."""

    build: Build
    log: BuildLog | None
    cancellation: Cancellation | None
    cancelled_event: str | None
    events: list[BuildEvent]
    attempts: list[Build]
    containers: list[dict[str, Any]]
    conditions: list[dict[str, Any]]
    refusal: str | None
    is_settled: bool


def build_page(build: Build, access: Access) -> BuildPage:
    """Gather the page. Three queries at most; `build` comes with `log` and `cancellation` selected."""
    cancellation = getattr(build, "cancellation", None)
    newest_events = build.events.order_by("-timestamp", "-pk")[:EVENTS_SHOWN]
    attempts = Build.objects.visible_to(access).attempts_of(build).defer("job", "error_message")
    job = build.job or {}
    return BuildPage(
        build=build,
        log=getattr(build, "log", None),
        cancellation=cancellation,
        cancelled_event=_cancelled_event(build) if cancellation else None,
        events=list(newest_events)[::-1],
        attempts=list(attempts[:ATTEMPTS_SHOWN]),
        containers=_containers(job),
        conditions=[condition for condition in job.get("conditions") or [] if isinstance(condition, dict)],
        refusal=actions.cancel_refusal(build, access),
        is_settled=is_settled(build),
    )


def is_settled(build: Build) -> bool:
    """Whether nothing on the page will change any more, but the times."""
    if not build.is_finished or build.completed_at is None:
        return False
    log: BuildLog | None = getattr(build, "log", None)
    cancellation: Cancellation | None = getattr(build, "cancellation", None)
    waits_for_log = log is None or (not log.is_final and log.next_try_at is not None)
    waits_for_pods = cancellation is not None and cancellation.next_look_at is not None
    changed_at = max(filter(None, (build.completed_at, cancellation.confirmed_at if cancellation else None)))
    return not (waits_for_log or waits_for_pods) or timezone.now() - changed_at > _SETTLING


def _cancelled_event(build: Build) -> str | None:
    """`sent`, `pending`, or None where nothing is told to anybody. One query."""
    sent_at = (
        OutgoingEvent.objects.filter(build=build, type=f"{TYPE_PREFIX}.cancelled")
        .values_list("sent_at")
        .first()
    )
    return None if sent_at is None else "pending" if sent_at[0] is None else "sent"


def _containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per container, with its pod; a pod without containers is a row of its own."""
    rows: list[dict[str, Any]] = []
    for pod in job.get("pods") or []:
        containers = pod.get("containers") or [{}]
        rows += [
            {"pod": pod, "container": container, "is_first": position == 0, "span": len(containers)}
            for position, container in enumerate(containers)
        ]
    return rows
