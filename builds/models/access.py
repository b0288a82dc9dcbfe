"""Who asks and what they may see and do: the same answer for a token and for a signed-in person."""

from dataclasses import dataclass
from typing import Any

from django.db import models


class Scope(models.TextChoices):
    """What a token may be allowed."""

    BUILDS_READ = "builds:read"
    BUILDS_CANCEL = "builds:cancel"
    BUILDS_CREATE = "builds:create"
    STATS_READ = "stats:read"
    METRICS_READ = "metrics:read"


# What each permission of a signed-in person stands for. Whoever may look at builds may look at the pool.
_SCOPES_OF_PERMISSION = {
    "builds.view_build": frozenset({Scope.BUILDS_READ, Scope.STATS_READ}),
    "builds.cancel_build": frozenset({Scope.BUILDS_CANCEL}),
    "builds.add_build": frozenset({Scope.BUILDS_CREATE}),
}


@dataclass(frozen=True, slots=True)
class Access:
    """One caller: `third_party_ids` None means every customer, an empty set means none.

    `actor` is what history rows name; `key` tells callers apart for idempotency keys.
    """

    actor: str
    key: str
    scopes: frozenset[str]
    third_party_ids: frozenset[str] | None
    is_staff: bool = False

    @classmethod
    def of_user(cls, user: Any) -> "Access":
        """A signed-in person's: all customers, and the scopes that their permissions stand for."""
        scopes = frozenset[str]().union(
            *(scopes for permission, scopes in _SCOPES_OF_PERMISSION.items() if user.has_perm(permission))
        )
        return cls(
            actor=user.get_username(),
            key=f"user:{user.pk}",
            scopes=scopes,
            third_party_ids=None,
            is_staff=user.is_staff,
        )

    def may(self, scope: str) -> bool:
        """Whether the scope was granted."""
        return scope in self.scopes
