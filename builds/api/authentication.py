"""Who calls, by token or by session, and whether they may; afterwards `request.auth` is their Access."""

from collections.abc import Mapping
from typing import Any

from rest_framework import authentication, permissions
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from builds.api.errors import ApiError
from builds.models import Access, ApiToken, Scope

# Where the caller's key is left for the access line of the log.
CALLER_KEY = "buildportal.caller"
CHALLENGE = "Bearer"
_LONGEST_SECRET = 512


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <secret>`, one query; any other scheme is nobody's."""

    def authenticate(self, request: Request) -> tuple[Any, Access] | None:
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        secret = secret.strip()
        token = ApiToken.of_secret(secret) if 0 < len(secret) <= _LONGEST_SECRET else None
        if token is None:
            raise ApiError(
                401,
                "invalid_token",
                "The token is unknown, expired or revoked.",
                headers={"WWW-Authenticate": f'{CHALLENGE} error="invalid_token"'},
            )
        access = token.access
        request.META[CALLER_KEY] = access.key
        return token.user, access

    def authenticate_header(self, _request: Request) -> str:
        return CHALLENGE


class SessionAuthentication(authentication.SessionAuthentication):
    """A signed-in person, whose unsafe requests must carry the CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Access] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        access = Access.of_user(found[0])
        request.META[CALLER_KEY] = access.key
        return found[0], access

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied:
            raise ApiError(
                403, "csrf_failed", "The CSRF token is missing or wrong; send it as X-CSRFToken."
            ) from None


class HasScope(permissions.BasePermission):
    """The view's `scopes` say which one a method takes. A method that it does not name is answered by 405."""

    def has_permission(self, request: Request, view: Any) -> bool:
        access = request.auth
        if not isinstance(access, Access):
            return False
        scopes: Mapping[str, Scope] = getattr(view, "scopes", {})
        scope = scopes.get("GET" if request.method == "HEAD" else str(request.method))
        if scope is not None and not access.may(scope):
            raise ApiError(
                403, "missing_scope", f"This needs the scope {scope.value}.", details={"scope": scope.value}
            )
        return True


def access_of(request: Request) -> Access:
    """The caller of a request that HasScope has let in."""
    access = request.auth
    if not isinstance(access, Access):
        raise TypeError("the view lets callers in without asking who they are")
    return access
