"""API tokens: only the digest of a secret is kept."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from builds.models.access import Access, Scope

_USED_AT_PRECISION = timedelta(minutes=1)


def digest_of(secret: str) -> str:
    """SHA-256 in hex. The secret has 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class ApiToken(models.Model):
    """A program's key: scopes, and the customers that it may see. Expired and revoked rows stay."""

    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    all_customers = models.BooleanField(default=False)
    third_party_ids = models.JSONField(default=list, blank=True, help_text="Empty means none.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        help_text="Whose program it is.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(
        cls,
        *,
        name: str,
        scopes: Iterable[str],
        all_customers: bool = False,
        third_party_ids: Iterable[str] = (),
        expires_at: datetime | None = None,
    ) -> tuple["ApiToken", str]:
        """A new token and its secret, which is shown this once. Raises ValueError for an unknown scope."""
        wanted = sorted(set(scopes))
        unknown = set(wanted) - set(Scope.values)
        if unknown:
            raise ValueError(f"unknown scope: {', '.join(sorted(unknown))}")
        secret = f"bp_{secrets.token_urlsafe(32)}"
        token = cls.objects.create(
            name=name,
            digest=digest_of(secret),
            scopes=wanted,
            all_customers=all_customers,
            third_party_ids=sorted(set(third_party_ids)),
            expires_at=expires_at,
        )
        return token, secret

    @classmethod
    def of_secret(cls, secret: str) -> "ApiToken | None":
        """The valid token of that secret, marked as used; None if unknown, expired or revoked. One query."""
        token = cls.objects.filter(digest=digest_of(secret)).select_related("user").first()
        if token is None or not token.is_valid:
            return None
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at >= _USED_AT_PRECISION:
            cls.objects.filter(pk=token.pk).update(last_used_at=now)
        return token

    @property
    def is_valid(self) -> bool:
        """Neither revoked nor expired, and its person, where it has one, is active."""
        if self.revoked_at is not None or (self.user is not None and not self.user.is_active):
            return False
        return self.expires_at is None or self.expires_at > timezone.now()

    @property
    def access(self) -> Access:
        """What the bearer may see and do."""
        return Access(
            actor=f"token:{self.name}",
            key=f"token:{self.pk}",
            scopes=frozenset(self.scopes),
            third_party_ids=None if self.all_customers else frozenset(self.third_party_ids),
        )
