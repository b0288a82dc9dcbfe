"""The wish to cancel a build: durable before anything is tried, kept afterwards as its record."""

from django.db import models
from django.db.models import Q


class Cancellation(models.Model):
    """Who wished it, when and why, how often it was tried, and what was cleaned up."""

    class JobOutcome(models.TextChoices):
        DELETED = "deleted"
        ALREADY_GONE = "already_gone"

    class PodsOutcome(models.TextChoices):
        TERMINATING = "terminating"
        GONE = "gone"

    build = models.OneToOneField("builds.Build", on_delete=models.CASCADE, related_name="cancellation")
    requested_at = models.DateTimeField()
    requested_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    previous_status = models.CharField(max_length=16)
    correlation_id = models.CharField(max_length=128, null=True)

    tries = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(help_text="When the sweeper may hand it out again.")
    last_error = models.TextField(blank=True)
    delete_sent_at = models.DateTimeField(
        null=True, help_text="Set before the first DELETE: a later 404 may be its doing."
    )
    confirmed_at = models.DateTimeField(null=True)
    job_outcome = models.CharField(max_length=16, choices=JobOutcome, null=True)
    pods_outcome = models.CharField(max_length=16, choices=PodsOutcome, null=True)
    next_look_at = models.DateTimeField(null=True, help_text="When the pods' end is looked for again.")

    class Meta:
        default_permissions = ()
        indexes = [
            # The two sweepers: wishes not confirmed, and pods not yet gone.
            models.Index(
                fields=["next_try_at"], name="cancel_to_try", condition=Q(confirmed_at__isnull=True)
            ),
            models.Index(
                fields=["next_look_at"], name="cancel_to_look", condition=Q(next_look_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"cancellation by {self.requested_by}"
