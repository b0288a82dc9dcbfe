"""What the portal tells the world: one row per CloudEvent, written with the transition that it announces."""

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from builds.models.event import BuildEvent
from builds.states import Reason, Status

if TYPE_CHECKING:
    from builds.models.build import Build

TYPE_PREFIX = "io.knative.lambda.lifecycle.build"


def _word_for(build: "Build") -> str | None:
    """The last part of the event's type; None for transitions that are not told."""
    if build.status == Status.FAILED and build.status_reason == Reason.TIMEOUT:
        return "timeout"
    return {
        Status.RUNNING: "started",
        Status.SUCCEEDED: "completed",
        Status.FAILED: "failed",
        Status.CANCELLED: "cancelled",
    }.get(Status(build.status))


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _data(build: "Build") -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": build.name,
        "uid": build.uid,
        "namespace": build.namespace,
        "jobName": build.name,
        "buildId": build.name,
        "thirdPartyId": build.third_party_id,
        "parserId": build.parser_id,
        "imageUri": build.image_uri,
        "startedAt": _iso(build.started_at),
        "completedAt": _iso(build.completed_at),
        "duration": build.duration.total_seconds() if build.duration is not None else None,
    }
    if build.status_reason:
        data["reason"] = build.status_reason
    if build.error_message:
        data["error"] = build.error_message
    return data


class OutgoingEvent(models.Model):
    """A CloudEvent that is due, delivered at least once, in order per build, the same id each time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    build = models.ForeignKey("builds.Build", on_delete=models.CASCADE, related_name="outgoing")
    position = models.PositiveBigIntegerField(
        help_text="The history row's number: the order of one build's events."
    )
    type = models.CharField(max_length=128)
    source = models.CharField(max_length=255)
    subject = models.CharField(max_length=253)
    time = models.DateTimeField()
    extensions = models.JSONField()
    data = models.JSONField()
    tries = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()
    last_error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [
            # The sweeper, and the look for an earlier unsent event of the same build.
            models.Index(fields=["next_try_at"], name="outgoing_due", condition=Q(sent_at__isnull=True)),
            models.Index(fields=["build", "position"], name="outgoing_of_build"),
        ]
        constraints = [models.UniqueConstraint(fields=["build", "type"], name="outgoing_once_per_type")]

    def __str__(self) -> str:
        return f"{self.type} of {self.subject}"

    @classmethod
    def announce(cls, build: "Build", event: BuildEvent) -> "OutgoingEvent | None":
        """Write down what the transition means for the world; None without a sink or for an untold one.

        Called inside the transition's transaction. The content is frozen here, so that a re-delivery
        says the same.
        """
        word = _word_for(build)
        if settings.EVENT_SINK is None or word is None:
            return None
        correlation_id = event.correlation_id or build.correlation_id
        extensions = {
            "correlationid": correlation_id,
            "causationid": f"{build.uid}:{event.pk}",
            "idempotencykey": f"{build.uid}:{TYPE_PREFIX}.{word}",
        }
        return cls.objects.create(
            build=build,
            position=event.pk,
            type=f"{TYPE_PREFIX}.{word}",
            source=f"io.knative.lambda/buildportal/{build.namespace}",
            subject=build.name,
            time=event.timestamp,
            extensions={name: value for name, value in extensions.items() if value is not None},
            data=_data(build),
            next_try_at=event.timestamp,
        )
