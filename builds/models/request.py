"""Requests that their caller may repeat: which key was used for what."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

KEY_LIFETIME = timedelta(hours=24)


class IdempotentRequestManager(models.Manager["IdempotentRequest"]):
    def forget_old(self) -> int:
        """Delete the keys that no longer bind; how many they were."""
        return self.filter(created_at__lt=timezone.now() - KEY_LIFETIME).delete()[0]


class IdempotentRequest(models.Model):
    """One Idempotency-Key of one caller on one method and path; forgotten after 24 h."""

    caller = models.CharField(max_length=64)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=512)
    key = models.CharField(max_length=255)
    created_at = models.DateTimeField()

    objects = IdempotentRequestManager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["caller", "method", "path", "key"], name="request_once_per_key")
        ]
        indexes = [models.Index(fields=["created_at"], name="request_age")]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
