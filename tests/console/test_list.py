"""The list: what the URL asks for is what is shown, and nothing more is asked of the database."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from builds.models import NamespaceSync
from builds.states import Reason, Status
from tests.builders import make_build

LIST = "/console/"


def page_of(browser: Client, query: str) -> str:
    """The page, with each run of white space as one blank."""
    return " ".join(browser.get(LIST + query).content.decode().split())


def names(browser: Client, query: str = "") -> list[str]:
    """The builds shown, in order."""
    answer = browser.get(LIST + query)
    assert answer.status_code == 200
    return re.findall(r'class="cell-name">\s*<a href="[^"]+"><bdi>([^<]+)</bdi>', answer.content.decode())


@pytest.fixture
def four_builds(db: None) -> None:
    now = timezone.now()
    make_build(name="a", third_party_id="acme", parser_id="xml", created_at=now - timedelta(minutes=10))
    make_build(
        name="b",
        third_party_id="acme",
        parser_id="csv",
        status=Status.FAILED,
        error_message="manifest unknown",
        created_at=now - timedelta(hours=3),
    )
    make_build(
        name="c",
        third_party_id="zenith",
        parser_id="xml",
        status=Status.SUCCEEDED,
        correlation_id="req-7",
        created_at=now - timedelta(days=2),
    )
    make_build(name="d", third_party_id=None, status=Status.PENDING, created_at=now - timedelta(days=40))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "abcd"),
        ("?status=failed", "b"),
        ("?status=active", "ad"),
        ("?status=finished", "bc"),
        ("?status=failed,succeeded", "bc"),
        ("?third_party_id=acme", "ab"),
        ("?third_party_id=acme&parser_id=csv", "b"),
        ("?parser_id=xml", "ac"),
        ("?q=manifest", "b"),
        ("?correlation_id=req-7", "c"),
        ("?window=1h", "a"),
        ("?window=24h", "ab"),
        ("?window=7d", "abc"),
        ("?window=24h&status=active", "a"),
        ("?q=&third_party_id=&parser_id=&window=", "abcd"),
        ("?created_before=2001-01-01T00:00:00Z", ""),
        ("?page=99", "abcd"),
        ("?page=x", "abcd"),
    ],
)
def test_the_url_filters(viewer: Client, four_builds: None, query: str, expected: str) -> None:
    assert names(viewer, query) == list(expected)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("?third_party=acme", "There is no filter named “third_party”"),
        ("?status=done", "status must be"),
        ("?window=2h", "The window must be one of"),
        ("?created_after=yesterday", "created_after must be"),
        ("?q=a%00b", "q must not contain NUL"),
    ],
)
def test_a_filter_that_is_not_understood_shows_nothing(
    viewer: Client, four_builds: None, query: str, complaint: str
) -> None:
    answer = viewer.get(LIST + query)
    assert answer.status_code == 400
    assert complaint in answer.content.decode()
    assert b"cell-name" not in answer.content
    assert b"hx-trigger" not in answer.content


def test_the_filters_stay_in_the_form_and_in_the_links(viewer: Client, four_builds: None) -> None:
    page = page_of(viewer, "?status=failed&third_party_id=acme&q=man")
    assert 'name="third_party_id" value="acme"' in page
    assert 'name="q" value="man"' in page
    assert '<input type="hidden" name="status" value="failed">' in page
    assert 'href="?status=succeeded&amp;third_party_id=acme&amp;q=man"' in page
    assert re.search(r'href="[^"]*status=failed[^"]*"\s+aria-current="true"', page)


def test_pages_and_the_exact_total(viewer: Client) -> None:
    for number in range(65):
        make_build(name=f"n{number:02d}", created_at=timezone.now() - timedelta(minutes=number))
    first, last = page_of(viewer, ""), page_of(viewer, "?page=3")
    assert "<strong>1\N{EN DASH}30</strong> of <strong>65</strong> builds" in first
    assert 'rel="next" href="?page=2"' in first
    assert "Newer" not in first
    assert "<strong>61\N{EN DASH}65</strong> of <strong>65</strong> builds" in last
    assert "Older" not in last
    assert names(viewer, "?page=2") == [f"n{number:02d}" for number in range(30, 60)]


def test_the_number_of_queries_does_not_grow_with_the_rows(
    viewer: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for rows in (1, 12):
        for _ in range(rows):
            make_build(status=Status.FAILED, status_reason=Reason.ERROR)
        # Session, user, two for the permissions, total, rows, freshness.
        with django_assert_num_queries(7):
            viewer.get(LIST)


def test_hostile_text_is_shown_as_text(viewer: Client) -> None:
    make_build(
        name='<script>alert("n")</script>',
        third_party_id='"><img src=x onerror=alert(1)>',
        parser_id="a\u202egnp.exe",
        status=Status.FAILED,
        error_message="\x1b]8;;https://evil.example\x07click\x1b]8;;\x07 </td><script>",
    )
    page = viewer.get(LIST + "?q=script").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&quot;n&quot;)&lt;/script&gt;" in page
    assert "<img src=x" not in page
    assert "click &lt;/td&gt;&lt;script&gt;" in page
    assert "evil.example" not in page
    assert "\u202e" not in page


def test_a_refresh_gets_the_moving_part_alone(viewer: Client, four_builds: None) -> None:
    answer = viewer.get(LIST + "?status=active", headers={"HX-Request": "true"})
    page = answer.content.decode().strip()
    assert page.startswith('<div id="results"')
    assert 'hx-get="/console/?status=active"' in page
    assert "<html" not in page
    back = viewer.get(LIST, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert b"<html" in back.content


def test_nothing_yet_and_nothing_found_are_told_apart(viewer: Client) -> None:
    assert b"No builds yet" in viewer.get(LIST).content
    assert b"No build matches" in viewer.get(LIST + "?q=x").content


@pytest.mark.parametrize(
    ("row", "told", "untold"),
    [
        (None, "The cluster has not been read yet", "not been heard since"),
        ({"listed_at": timedelta(0)}, "", "notice-warning"),
        ({"listed_at": timedelta(hours=1), "watched_at": timedelta(0)}, "", "notice-warning"),
        ({"listed_at": timedelta(hours=1)}, "not been heard since", "not been read yet"),
        ({"listed_at": timedelta(0), "alarm": "12 of 20"}, "Many builds are missing", "12 of 20"),
        (
            {"listed_at": timedelta(hours=1), "failed_at": timedelta(0), "last_error": "refused by 10.0.0.1"},
            "not been heard since",
            "10.0.0.1",
        ),
    ],
)
def test_old_news_are_told_and_details_are_for_staff(
    viewer: Client, person: Callable[..., User], row: dict[str, object] | None, told: str, untold: str
) -> None:
    if row is not None:
        columns = {
            key: timezone.now() - age if isinstance(age, timedelta) else age for key, age in row.items()
        }
        NamespaceSync.objects.create(namespace="knative-lambda", **columns)
    page = (
        viewer.get(LIST)
        .content.decode()
        .replace('id="connection"', "")
        .replace('<p class="notice notice-warning"', "")
    )
    assert told in page
    assert untold not in page
    if row and {"alarm", "last_error"} & set(row):
        staff = Client()
        staff.force_login(person("view_build", name="grace", is_staff=True))
        assert untold in staff.get(LIST).content.decode()
