"""Cancelling on the pages: asked why, on a POST only, once, and told in words."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from builds.models import Build, BuildEvent, Cancellation
from builds.states import Status
from tests.builders import make_build

WHY = {"preset": "Started by mistake", "details": ""}


@pytest.fixture(autouse=True)
def _do_not_wait(settings: object) -> None:
    """No worker runs here, so nobody would confirm."""
    settings.CANCEL_WAIT_S = 0  # type: ignore[attr-defined]


def path_of(build: Build) -> str:
    return reverse("console:cancel", args=[build.uid])


def test_asking_changes_nothing(canceller: Client) -> None:
    build = make_build()
    for answer in (canceller.get(path_of(build)), canceller.head(path_of(build))):
        assert answer.status_code == 200
    page = canceller.get(path_of(build)).content.decode()
    assert build.name in page
    assert "This cannot be undone" in page
    assert "checked" not in page
    build.refresh_from_db()
    assert build.status == Status.RUNNING
    assert not Cancellation.objects.exists()


def test_the_wish_is_stored_and_told(canceller: Client) -> None:
    build = make_build(status=Status.PENDING)
    sent = {**WHY, "details": "wrong branch"}
    answer = canceller.post(path_of(build), sent, follow=True, headers={"X-Correlation-ID": "from-the-page"})
    assert answer.redirect_chain == [(reverse("console:build", args=[build.uid]), 302)]
    assert "The wish is stored" in answer.content.decode()
    build.refresh_from_db()
    assert build.status == Status.CANCELLING
    assert (build.cancellation.requested_by, build.cancellation.reason) == (
        "ada",
        "Started by mistake: wrong branch",
    )
    event = BuildEvent.objects.get(build=build, to_status=Status.CANCELLING)
    assert (event.actor, event.source) == ("ada", "console")
    assert event.correlation_id == "from-the-page"


def test_a_double_click_is_one_wish(canceller: Client) -> None:
    build = make_build()
    canceller.post(path_of(build), {"preset": "other", "details": "mine"})
    second = canceller.post(path_of(build), {"preset": "", "details": "again"}, follow=True)
    assert "is being cancelled already" in second.content.decode()
    assert Cancellation.objects.get(build=build).reason == "mine"
    assert BuildEvent.objects.filter(build=build, to_status=Status.CANCELLING).count() == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.SUCCEEDED, "had finished before the cancellation reached it: it succeeded"),
        (Status.FAILED, "had finished before the cancellation reached it: it failed"),
        (Status.CANCELLED, "was cancelled already"),
    ],
)
def test_a_finished_build_is_explained(canceller: Client, status: Status, words: str) -> None:
    build = make_build(status=status)
    answer = canceller.post(path_of(build), WHY)
    assert answer.status_code == 409
    assert words in answer.content.decode()
    assert "Nothing was changed" in answer.content.decode()
    assert not Cancellation.objects.exists()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"preset": "", "details": "  "}, "Say why this build is cancelled"),
        ({"preset": "other", "details": ""}, "Say why this build is cancelled"),
        ({}, "Say why this build is cancelled"),
        ({"preset": "", "details": "x" * 501}, "at most 500 characters"),
        ({"preset": "Started by mistake", "details": "x" * 490}, "over 500 characters"),
        ({"preset": "made up", "details": "x"}, "Select a valid choice"),
        ({"preset": "", "details": "a\x00b"}, "Null characters are not allowed"),
    ],
)
def test_a_reason_is_needed(canceller: Client, sent: dict[str, str], words: str) -> None:
    build = make_build()
    answer = canceller.post(path_of(build), sent)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    build.refresh_from_db()
    assert build.status == Status.RUNNING


def test_it_needs_the_permission(viewer: Client) -> None:
    build = make_build()
    for answer in (viewer.get(path_of(build)), viewer.post(path_of(build), WHY)):
        assert answer.status_code == 403
        assert b"but not cancel them" in answer.content
    build.refresh_from_db()
    assert build.status == Status.RUNNING


def test_it_needs_the_csrf_token(signed_in: Callable[..., Client]) -> None:
    build = make_build()
    browser = signed_in("view_build", "cancel_build", csrf=True)
    assert browser.post(path_of(build), WHY).status_code == 403
    build.refresh_from_db()
    assert build.status == Status.RUNNING
    token = browser.get(path_of(build)).context["csrf_token"]
    assert browser.post(path_of(build), {**WHY, "csrfmiddlewaretoken": str(token)}).status_code == 302


def test_the_dialog_gets_the_same_form_or_the_whole_page(canceller: Client) -> None:
    refresh = {"HX-Request": "true"}
    form = canceller.get(path_of(make_build()), headers=refresh).content.decode()
    assert "<html" not in form
    assert form.strip().startswith('<form method="post"')
    late = make_build(status=Status.SUCCEEDED)
    assert canceller.get(path_of(late), headers=refresh)["HX-Redirect"] == path_of(late)


def test_an_attempt_is_cancelled_and_not_its_successor(canceller: Client) -> None:
    old = make_build(name="twice", third_party_id="acme")
    new = make_build(name="twice", third_party_id="acme")
    canceller.post(path_of(old), WHY)
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.status, new.status) == (Status.CANCELLING, Status.RUNNING)
