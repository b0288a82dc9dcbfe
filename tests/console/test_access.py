"""Who gets in, how, and what the others are told."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.builders import make_build

LIST = "/console/"
PASSWORD = "a long enough password"


@pytest.fixture
def ada(person: Callable[..., User]) -> User:
    """Somebody with a password, who may look."""
    user = person("view_build")
    user.set_password(PASSWORD)
    user.save()
    return user


def pages() -> list[str]:
    """Every page that shows a build."""
    build = make_build()
    return [LIST, reverse("console:build", args=[build.uid]), reverse("console:cancel", args=[build.uid])]


def test_the_root_leads_to_the_pages(db: None) -> None:
    answer = Client().get("/")
    assert (answer.status_code, answer["Location"]) == (302, LIST)


def test_strangers_are_asked_to_sign_in_and_come_back(db: None) -> None:
    for path in pages():
        answer = Client().get(path)
        assert answer.status_code == 302
        assert answer["Location"] == f"/console/sign-in?next={path}"


def test_a_refresh_after_the_session_ended_makes_the_browser_sign_in(db: None) -> None:
    answer = Client().get(LIST, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == "/console/sign-in"
    assert answer.content == b""


def test_without_view_build_every_page_is_refused_in_words(signed_in: Callable[..., Client]) -> None:
    browser = signed_in("cancel_build")
    for path in pages():
        answer = browser.get(path)
        assert answer.status_code == 403
        assert b"may not look at builds" in answer.content
        assert answer["X-Correlation-ID"].encode() in answer.content


def test_sign_in_and_out(ada: User) -> None:
    browser = Client()
    target = "/console/?status=failed"
    answer = browser.post("/console/sign-in", {"username": "ada", "password": PASSWORD, "next": target})
    assert (answer.status_code, answer["Location"]) == (302, target)
    assert browser.get(LIST).status_code == 200
    assert browser.get("/console/sign-out").status_code == 405
    assert browser.post("/console/sign-out")["Location"] == "/console/sign-in"
    assert browser.get(LIST).status_code == 302


def test_a_wrong_password_is_told_without_telling_which_part_is_wrong(ada: User) -> None:
    answers = [
        Client().post("/console/sign-in", {"username": name, "password": "wrong"})
        for name in ("ada", "nobody")
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert b"No account has this user name and password" in answer.content


def test_sign_in_leads_nowhere_else(ada: User) -> None:
    sent = {"username": "ada", "password": PASSWORD, "next": "https://elsewhere.example/"}
    assert Client().post("/console/sign-in", sent)["Location"] == LIST


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/sign-out"])
def test_forms_without_the_csrf_token_are_refused_in_words(
    path: str, signed_in: Callable[..., Client]
) -> None:
    answer = signed_in("view_build", csrf=True).post(path)
    assert answer.status_code == 403
    assert b"This form is out of date" in answer.content


def test_pages_forbid_inline_scripts_and_caches(viewer: Client) -> None:
    answer = viewer.get(LIST)
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["Cache-Control"] == "private, no-store"
    assert "HX-Request" in answer["Vary"]
    for written_inside in (b"<style", b" style=", b" onclick=", b"hx-on", b"javascript:"):
        assert written_inside not in answer.content
