"""The admin: records are looked at, not edited; builds are cancelled after being asked, if permitted."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from builds.models import ApiToken, Build, BuildEvent, Cancellation, NamespaceSync, WatchLease
from builds.states import Status
from tests.builders import make_build

BUILDS = "/admin/builds/build/"
CANCEL = "/admin/builds/build/cancel/"
SEE = ("view_build", "view_buildevent")


@pytest.fixture(autouse=True)
def _do_not_wait(settings: object) -> None:
    """No worker runs here, so nobody would confirm."""
    settings.CANCEL_WAIT_S = 0  # type: ignore[attr-defined]


@pytest.fixture
def staff(signed_in: Callable[..., Client]) -> Client:
    """Staff who may look and cancel."""
    return signed_in(*SEE, "cancel_build", is_staff=True)


@pytest.fixture
def onlooker(signed_in: Callable[..., Client]) -> Client:
    """Staff who may look."""
    return signed_in(*SEE, is_staff=True)


def status_of(build: Build) -> str:
    build.refresh_from_db()
    return build.status


# --- Looking ---


def test_the_list_is_searched_and_filtered(staff: Client) -> None:
    make_build(name="build-one", third_party_id="acme", status=Status.FAILED, status_reason="oom_killed")
    make_build(name="build-two", third_party_id="zenith")

    def shown(query: str) -> list[str]:
        page = staff.get(BUILDS + query).content.decode()
        return [name for name in ("build-one", "build-two") if f">{name}</a>" in page]

    assert shown("") == ["build-one", "build-two"]
    assert shown("?q=acme") == ["build-one"]
    assert shown("?status__exact=running") == ["build-two"]
    assert shown("?status_reason=oom_killed") == ["build-one"]
    assert shown("?namespace=knative-lambda") == ["build-one", "build-two"]
    assert shown("?namespace=%00&status_reason=%00") == ["build-one", "build-two"]
    assert "badge-failed" in staff.get(BUILDS).content.decode()


@pytest.mark.parametrize("path", [BUILDS, "/admin/builds/buildevent/"])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    staff: Client, path: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_build()
    staff.get(path)
    counted = []
    for rows in (1, 15):
        for _ in range(rows):
            make_build(status=Status.FAILED)
        # Session, user, two for the permissions, total, rows.
        with django_assert_num_queries(6) as queries:
            staff.get(path)
        counted.append(len(queries))
    assert counted[0] == counted[1]


def test_nothing_can_be_added_edited_or_deleted_even_by_a_superuser(signed_in: Callable[..., Client]) -> None:
    root = signed_in(is_staff=True, is_superuser=True)
    build = make_build()
    sync = NamespaceSync.objects.create(namespace="knative-lambda")
    lease = WatchLease.objects.create(pk=1, holder="portal-1/7/0a1b2c")
    rows = [
        ("build", build.pk),
        ("buildevent", build.events.get().pk),
        ("namespacesync", sync.pk),
        ("watchlease", lease.pk),
    ]
    for model, key in rows:
        base = f"/admin/builds/{model}/"
        assert root.get(f"{base}{key}/change/").status_code == 200
        assert root.post(f"{base}{key}/change/", {"status": "succeeded"}).status_code == 403
        assert root.get(f"{base}add/").status_code == 403
        assert root.post(f"{base}{key}/delete/", {"post": "yes"}).status_code == 403
        assert "delete_selected" not in root.get(base).content.decode()
    assert status_of(build) == Status.RUNNING


def test_hostile_text_is_shown_as_text(staff: Client) -> None:
    hostile = "<script>alert(1)</script>\u202e\x1b[2J"
    build = make_build(name=hostile, status=Status.FAILED, error_message=hostile, third_party_id="<i>")
    build.job = {"pods": [{"name": hostile}]}
    build.save()
    BuildEvent.objects.create(
        build=build, type="Warning", reason=hostile, message=hostile, source=hostile, timestamp=timezone.now()
    )
    for path in (
        BUILDS,
        f"{BUILDS}{build.pk}/change/",
        "/admin/builds/buildevent/",
        f"{CANCEL}?id={build.pk}",
    ):
        page = staff.get(path).content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page


# --- Cancelling ---


def test_the_action_leads_to_a_page_that_lists_exactly_the_chosen(staff: Client) -> None:
    chosen, other = make_build(name="chosen"), make_build(name="other")
    answer = staff.post(BUILDS, {"action": "cancel_chosen", "_selected_action": [chosen.pk]}, follow=True)
    page = answer.content.decode()
    assert answer.redirect_chain == [(f"{CANCEL}?id={chosen.pk}", 302)]
    assert ">chosen</bdi>" in page
    assert "other" not in page.replace("logout", "").split('id="content-main"')[1]
    assert "deleted from the cluster" in page
    assert (status_of(chosen), status_of(other)) == (Status.RUNNING, Status.RUNNING)


def test_each_build_has_its_result(staff: Client) -> None:
    running, done, asked = (
        make_build(),
        make_build(status=Status.SUCCEEDED),
        make_build(status=Status.CANCELLING),
    )
    sent = {"id": [running.pk, done.pk, asked.pk], "reason": "maintenance"}
    page = staff.post(CANCEL, sent).content.decode()
    for words in (
        "it is carried out as soon",
        "Nothing to cancel: it had succeeded",
        "being cancelled already",
    ):
        assert words in page
    assert status_of(running) == Status.CANCELLING
    assert (running.cancellation.requested_by, running.cancellation.reason) == ("ada", "maintenance")
    assert BuildEvent.objects.get(build=running, to_status=Status.CANCELLING).source == "admin"
    assert Cancellation.objects.count() == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [("", "This field is required"), ("  ", "This field is required"), ("x" * 501, "at most 500")],
)
def test_a_reason_is_needed(staff: Client, reason: str, words: str) -> None:
    build = make_build()
    answer = staff.post(CANCEL, {"id": build.pk, "reason": reason})
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert status_of(build) == Status.RUNNING


def test_without_the_permission_it_is_hidden_and_refused(onlooker: Client) -> None:
    build = make_build()
    assert "cancel_chosen" not in onlooker.get(BUILDS).content.decode()
    assert "Cancel this build" not in onlooker.get(f"{BUILDS}{build.pk}/change/").content.decode()
    onlooker.post(BUILDS, {"action": "cancel_chosen", "_selected_action": [build.pk]})
    for answer in (
        onlooker.get(f"{CANCEL}?id={build.pk}"),
        onlooker.post(CANCEL, {"id": build.pk, "reason": "x"}),
    ):
        assert answer.status_code == 403
    assert status_of(build) == Status.RUNNING


def test_people_who_are_not_staff_do_not_get_in(canceller: Client) -> None:
    build = make_build()
    assert canceller.post(CANCEL, {"id": build.pk, "reason": "x"})["Location"].startswith("/admin/login/")
    assert status_of(build) == Status.RUNNING


def test_it_needs_the_csrf_token(signed_in: Callable[..., Client]) -> None:
    build = make_build()
    browser = signed_in(*SEE, "cancel_build", is_staff=True, csrf=True)
    assert browser.post(CANCEL, {"id": build.pk, "reason": "x"}).status_code == 403
    assert status_of(build) == Status.RUNNING


def test_a_get_never_cancels(staff: Client) -> None:
    build = make_build()
    assert staff.get(f"{CANCEL}?id={build.pk}&reason=x").status_code == 200
    assert status_of(build) == Status.RUNNING


@pytest.mark.parametrize("query", ["", "?id=", "?id=x", "?id=99999999", "?id=1e3", "?id=" + "9" * 30])
def test_a_choice_that_does_not_exist(staff: Client, query: str) -> None:
    assert staff.get(CANCEL + query).status_code == 404


def test_too_many_at_once_are_refused(staff: Client) -> None:
    for _ in range(101):
        make_build()
    sent = {"action": "cancel_chosen", "select_across": "1", "_selected_action": [Build.objects.first().pk]}  # type: ignore[union-attr]
    answer = staff.post(BUILDS, sent, follow=True)
    assert "Choose at most 100 builds at once" in answer.content.decode()
    assert not Cancellation.objects.exists()


def test_the_build_page_offers_it_while_it_makes_sense(staff: Client) -> None:
    running, done = make_build(), make_build(status=Status.SUCCEEDED)
    link = f"{reverse('admin:builds_build_cancel')}?id="
    assert f"{link}{running.pk}" in staff.get(f"{BUILDS}{running.pk}/change/").content.decode()
    assert link not in staff.get(f"{BUILDS}{done.pk}/change/").content.decode()


# --- Tokens ---


def test_a_token_is_issued_and_its_secret_shown_once(signed_in: Callable[..., Client]) -> None:
    root = signed_in("view_apitoken", "add_apitoken", is_staff=True)
    sent = {"name": "ci", "scopes": ["builds:read"], "customers": "acme, zenith"}
    answer = root.post("/admin/builds/apitoken/add/", sent)
    secret = answer.context["secret"]
    assert secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    token = ApiToken.of_secret(secret)
    assert token is not None
    assert (token.scopes, token.third_party_ids, token.all_customers) == (
        ["builds:read"],
        ["acme", "zenith"],
        False,
    )
    for path in ("/admin/builds/apitoken/", f"/admin/builds/apitoken/{token.pk}/change/"):
        page = root.get(path).content.decode()
        assert "ci" in page
        assert secret not in page
        assert token.digest not in page


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"scopes": []}, "required"),
        ({"scopes": ["builds:everything"]}, "valid choice"),
        ({"customers": ""}, "would see nothing"),
        ({"all_customers": "on"}, "either all customers or some"),
        ({"expires_at": "2001-01-01 00:00"}, "over already"),
    ],
)
def test_a_token_that_makes_no_sense(
    signed_in: Callable[..., Client], over: dict[str, object], words: str
) -> None:
    root = signed_in("view_apitoken", "add_apitoken", is_staff=True)
    answer = root.post(
        "/admin/builds/apitoken/add/", {"name": "ci", "scopes": ["builds:read"], "customers": "acme", **over}
    )
    assert words in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_tokens_are_revoked_and_never_edited(
    signed_in: Callable[..., Client], person: Callable[..., object]
) -> None:
    root = signed_in("view_apitoken", "change_apitoken", is_staff=True)
    token, secret = ApiToken.issue(name="ci", scopes=["builds:read"], all_customers=True)
    path = "/admin/builds/apitoken/"
    assert root.post(f"{path}{token.pk}/change/", {"name": "x"}).status_code == 403
    assert root.get(f"{path}add/").status_code == 403
    onlooker = Client()
    onlooker.force_login(person("view_apitoken", name="grace", is_staff=True))  # type: ignore[arg-type]
    sent = {"action": "revoke_chosen", "_selected_action": [token.pk]}
    onlooker.post(path, sent)
    assert ApiToken.of_secret(secret) is not None
    root.post(path, sent)
    assert ApiToken.of_secret(secret) is None
    first = ApiToken.objects.get().revoked_at
    assert first is not None
    assert timezone.now() - first < timedelta(minutes=1)
    root.post(path, sent)
    assert ApiToken.objects.get().revoked_at == first
