"""Who asks, and whether they may: tokens, client certificates, one limited role; reads no objects."""

import hmac
from dataclasses import dataclass

from devcluster import errors
from devcluster.resources import Resource

ANONYMOUS = "system:anonymous"
LIMITED = "system:serviceaccount:builds:portal"
LIMITED_NAMESPACES = ("builds", "knative-lambda")

# What the limited account may do in its namespaces: the role that a build portal needs, and no more.
LIMITED_RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("batch", "jobs"): ("get", "list", "watch", "create", "delete", "patch"),
    ("", "pods"): ("get", "list", "watch", "delete"),
    ("", "pods/log"): ("get",),
    ("", "events"): ("list", "watch", "create"),
}


@dataclass(frozen=True)
class User:
    name: str
    is_admin: bool


@dataclass(frozen=True)
class Action:
    """What a request wants to do. `name` and `namespace` may be empty."""

    verb: str
    resource: Resource
    subresource: str
    namespace: str
    name: str


def authenticate(authorization: str, certificate_subject: str, tokens: dict[str, str]) -> User:
    """Raises 401 for a token that is not known; no credentials at all make the anonymous user."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer":
        if hmac.compare_digest(token.strip().encode(), tokens["admin"].encode()):
            return User("devcluster-admin", True)
        if hmac.compare_digest(token.strip().encode(), tokens["limited"].encode()):
            return User(LIMITED, False)
        raise errors.unauthorized()
    if certificate_subject:
        # The CA signs one client certificate, in the group system:masters.
        return User(certificate_subject, True)
    return User(ANONYMOUS, False)


def allows(user: User, action: Action) -> bool:
    if user.is_admin:
        return True
    what = action.resource.plural + (f"/{action.subresource}" if action.subresource else "")
    verbs = LIMITED_RULES.get((action.resource.group, what), ())
    return user.name == LIMITED and action.namespace in LIMITED_NAMESPACES and action.verb in verbs


def check(user: User, action: Action) -> None:
    """Raises 403, whether or not the object exists."""
    if not allows(user, action):
        raise errors.forbidden(
            action.resource, action.subresource, action.name, action.namespace, action.verb, user.name
        )
