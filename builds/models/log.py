"""The last lines of a build's log, kept after the pod is gone."""

from django.db import models


class BuildLog(models.Model):
    """The build container's last lines, redacted, at most LOG_LINES and LOG_LIMIT_BYTES."""

    build = models.OneToOneField("builds.Build", on_delete=models.CASCADE, related_name="log")
    text = models.TextField(blank=True)
    as_of = models.DateTimeField(null=True, help_text="When `text` was read from the cluster.")
    is_final = models.BooleanField(default=False, help_text="Read after the container had ended.")
    unavailable_reason = models.CharField(
        max_length=64, null=True, help_text="Why there is no text, or no newer one."
    )
    tries = models.PositiveIntegerField(default=0, help_text="Failed readings after the build ended.")
    next_try_at = models.DateTimeField(null=True, help_text="When a final reading is due; null when none is.")

    class Meta:
        default_permissions = ()
        indexes = [
            # The sweeper: readings that are due.
            models.Index(
                fields=["next_try_at"], name="log_to_read", condition=models.Q(next_try_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"log of {self.build_id}"
