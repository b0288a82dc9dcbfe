"""A build's history: its own transitions, and what the cluster said of it."""

from django.db import models
from django.db.models import Q

from builds.states import Status


class BuildEvent(models.Model):
    """One row per transition (when, from, to, who or what saw it), per other change, per cluster Event."""

    class Type(models.TextChoices):
        TRANSITION = "transition"
        CHANGE = "change"
        NORMAL = "Normal"
        WARNING = "Warning"

    build = models.ForeignKey("builds.Build", on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=16, choices=Type)
    reason = models.CharField(max_length=128)
    message = models.TextField(blank=True)
    source = models.CharField(
        max_length=128, help_text="What saw or did it: api, console, watch, job-controller."
    )
    actor = models.CharField(max_length=150, null=True, help_text="Who did it, where somebody did.")
    from_status = models.CharField(max_length=16, choices=Status, null=True)
    to_status = models.CharField(max_length=16, choices=Status, null=True)
    timestamp = models.DateTimeField()
    correlation_id = models.CharField(max_length=128, null=True)
    cluster_uid = models.CharField(max_length=64, null=True, help_text="Of the cluster's Event.")
    count = models.PositiveIntegerField(default=1, help_text="How often the cluster repeated it.")

    class Meta:
        default_permissions = ("view",)
        ordering = ("timestamp", "pk")
        indexes = [models.Index(fields=["build", "timestamp", "id"], name="event_of_build")]
        constraints = [
            # The automaton has no cycle, so a build enters each state at most once.
            models.UniqueConstraint(
                fields=["build", "to_status"],
                name="event_once_per_state",
                condition=Q(to_status__isnull=False),
            ),
            models.UniqueConstraint(fields=["build", "cluster_uid"], name="event_once_per_cluster_event"),
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason
