"""The automaton and the constraints hold, whoever writes; tokens keep no secret."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from builds import record
from builds.models import Access, ApiToken, Build, BuildEvent, NamespaceSync
from builds.states import ACTIVE, EDGES, FINISHED, Status
from tests.snapshots import a_job, at, running

pytestmark = pytest.mark.django_db


def in_state(status: Status) -> Build:
    return Build.objects.create(
        name="b",
        namespace="knative-lambda",
        status=status,
        created_at=at(0),
        completed_at=at(9) if status in FINISHED else None,
    )


@pytest.mark.parametrize("origin", list(Status))
@pytest.mark.parametrize("target", list(Status))
def test_only_the_contracts_edges_exist(origin: Status, target: Status) -> None:
    build = in_state(origin)
    changes: dict[str, Any] = {"completed_at": at(9)} if target in FINISHED else {}
    if target in EDGES[origin]:
        assert build.move_to(target, source="test", **changes) is not None
        assert build.status == target
    else:
        with pytest.raises(ValueError, match="never goes"):
            build.move_to(target, source="test", **changes)
        assert Build.objects.get().status == origin


def test_finished_states_absorb() -> None:
    assert all(not EDGES[status] for status in FINISHED)
    assert set(Status) == ACTIVE | FINISHED


def test_the_row_count_decides_who_was_first() -> None:
    record.apply(running(), source="watch")
    mine, theirs = Build.objects.get(), Build.objects.get()
    assert theirs.move_to(Status.FAILED, source="watch", completed_at=at(9)) is not None
    assert mine.move_to(Status.CANCELLING, source="api") is None
    assert mine.status == Status.FAILED
    assert BuildEvent.objects.filter(to_status=Status.CANCELLING).count() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "exploded"},
        {"status": "failed"},
        {"completed_at": at(1)},
        {"status_reason": "oom_killed"},
        {"status": "failed", "completed_at": at(1), "status_reason": "pulling"},
    ],
)
def test_what_must_always_hold_is_held_by_the_database(changes: dict[str, object]) -> None:
    build = in_state(Status.PENDING)
    with pytest.raises(IntegrityError), transaction.atomic():
        Build.objects.filter(pk=build.pk).update(**changes)


def test_one_row_per_uid() -> None:
    record.apply(a_job(), source="watch")
    with pytest.raises(IntegrityError), transaction.atomic():
        Build.objects.create(uid="uid-1", name="x", namespace="y", status="pending", created_at=at(0))


def access_to(*customers: str) -> Access:
    return Access(actor="t", key="t", scopes=frozenset(), third_party_ids=frozenset(customers))


def test_a_caller_sees_their_customers_only() -> None:
    record.apply(a_job(), source="watch")
    record.apply(a_job("uid-2", labels={}), source="watch")
    everyone = Access(actor="t", key="t", scopes=frozenset(), third_party_ids=None)
    assert Build.objects.visible_to(everyone).count() == 2
    assert [build.uid for build in Build.objects.visible_to(access_to("acme"))] == ["uid-1"]
    assert not Build.objects.visible_to(access_to("other")).exists()
    assert not Build.objects.visible_to(access_to()).exists()


def test_a_tokens_secret_is_not_stored() -> None:
    token, secret = ApiToken.issue(name="ci", scopes=["builds:read"], third_party_ids=["acme"])
    assert all(secret not in str(value) for value in ApiToken.objects.values_list().get())
    found = ApiToken.of_secret(secret)
    assert found == token
    assert found is not None
    assert found.access.third_party_ids == frozenset({"acme"})


@pytest.mark.parametrize("secret", ["", "wrong", "bp_\udce9", "\x00"])
def test_wrong_secrets_find_nothing(secret: str) -> None:
    ApiToken.issue(name="ci", scopes=["builds:read"])
    assert ApiToken.of_secret(secret) is None


def test_expired_and_revoked_tokens_stay_but_do_not_open() -> None:
    past = timezone.now() - timedelta(seconds=1)
    _, expired = ApiToken.issue(name="old", scopes=[], expires_at=past)
    revoked, secret = ApiToken.issue(name="revoked", scopes=[])
    ApiToken.objects.filter(pk=revoked.pk).update(revoked_at=past)
    assert ApiToken.of_secret(expired) is None
    assert ApiToken.of_secret(secret) is None
    assert ApiToken.objects.count() == 2


def test_unknown_scopes_are_refused() -> None:
    with pytest.raises(ValueError, match="builds:everything"):
        ApiToken.issue(name="ci", scopes=["builds:everything"])


def test_a_later_list_confirms_what_was_seen() -> None:
    record.apply(running(), source="watch")
    NamespaceSync.objects.create(namespace="knative-lambda", listed_at=timezone.now() + timedelta(minutes=1))

    def seen() -> Build:
        return Build.objects.with_listed_at().get()

    assert seen().seen_at == NamespaceSync.objects.get().listed_at
    for absent in ({"missing_since": at(9)}, {"missing_since": None, "gone_at": at(9)}):
        Build.objects.update(**absent)
        assert seen().seen_at == seen().observed_at
