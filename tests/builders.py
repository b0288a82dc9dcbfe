"""Rows for tests, consistent for any status; what a test cares about is given, the rest is made up."""

import itertools
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from builds.models import ApiToken, Build, BuildEvent, Scope
from builds.states import FINISHED, Status

_numbers = itertools.count(1)


def make_build(**over: Any) -> Build:
    """A build with its times, its Job and the history row of its first sight; `over` are columns of Build.

    A `uid` of None is kept: a build whose Job does not exist yet.
    """
    number = next(_numbers)
    status = Status(over.get("status", Status.RUNNING))
    created_at: datetime = over.get("created_at") or timezone.now() - timedelta(minutes=5)
    started_at = None if status == Status.PENDING else created_at + timedelta(seconds=5)
    name = over.get("name", f"build-customer-{number}-parser-{number}-{number:06x}")
    uid = over.get("uid", str(uuid.uuid4()))
    columns: dict[str, Any] = {
        "namespace": "knative-lambda",
        "name": name,
        "uid": uid,
        "third_party_id": f"customer-{number}",
        "parser_id": f"parser-{number}",
        "image_uri": f"registry.example/knative-lambdas:customer-{number}-parser-{number}",
        "status": status,
        "created_at": created_at,
        "started_at": started_at,
        "completed_at": created_at + timedelta(minutes=2) if status in FINISHED else None,
        "observed_at": created_at + timedelta(seconds=5),
        "job": job_json(name, uid, status),
        **over,
    }
    build = Build.objects.create(**columns)
    BuildEvent.objects.create(
        build=build,
        type=BuildEvent.Type.TRANSITION,
        reason=status,
        source="watch",
        to_status=status,
        timestamp=created_at,
    )
    return build


def job_json(name: str, uid: str | None, status: Status) -> dict[str, Any]:
    """What `Build.job` holds for a Job with one pod of one container."""
    state, phase, exit_code = {
        Status.PENDING: ("waiting", "Pending", None),
        Status.SUCCEEDED: ("terminated", "Succeeded", 0),
        Status.FAILED: ("terminated", "Failed", 1),
    }.get(status, ("running", "Running", None))
    container = {"name": "kaniko", "state": state, "reason": None, "exit_code": exit_code, "restarts": 0}
    pod = {"name": f"{name}-x7k2p", "phase": phase, "node": "node-1", "reason": None}
    return {
        "name": name,
        "uid": uid,
        "active": int(phase in ("Pending", "Running")),
        "succeeded": int(phase == "Succeeded"),
        "failed": int(phase == "Failed"),
        "conditions": [],
        "pods": [pod | {"containers": [container]}],
    }


def make_token(*scopes: str, customers: Iterable[str] | None = None, **over: Any) -> str:
    """The secret of a token; no scopes named: all of them, no customers given: for all customers.

    It counts as used just now, so that requests do not write that down; `over` are columns of ApiToken.
    """
    token, secret = ApiToken.issue(
        name=over.get("name", f"token-{next(_numbers)}"),
        scopes=scopes or Scope.values,
        all_customers=customers is None,
        third_party_ids=customers or (),
    )
    ApiToken.objects.filter(pk=token.pk).update(**{"last_used_at": timezone.now(), **over})
    return secret
