"""Who is let in where: tokens, sessions, scopes and the wall between customers."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from builds.models import ApiToken, Build
from tests.api.conftest import Api, client_of
from tests.builders import make_build, make_token

ENDPOINTS = {
    "list": ("GET", "/builds"),
    "list-theirs": ("GET", "/builds?third_party_id=theirs"),
    "mine": ("GET", "/builds/mine"),
    "theirs": ("GET", "/builds/theirs"),
    "theirs-uid": ("GET", "/builds/uid-theirs"),
    "nobodys": ("GET", "/builds/nobodys"),
    "cancel-mine": ("POST", "/builds/mine/cancel"),
    "cancel-theirs": ("POST", "/builds/theirs/cancel"),
    "stats": ("GET", "/async-jobs/stats"),
}
# Principal -> what each endpoint answers; for lists, the builds that are in them.
WALL: dict[str, dict[str, Any]] = {
    "nobody": dict.fromkeys(ENDPOINTS, 401),
    "bad token": dict.fromkeys(ENDPOINTS, 401),
    "no scope": dict.fromkeys(ENDPOINTS, 403),
    "all customers": {
        "list": ["mine", "nobodys", "theirs"],
        "list-theirs": ["theirs"],
        **dict.fromkeys(["mine", "theirs", "theirs-uid", "nobodys", "stats"], 200),
        **dict.fromkeys(["cancel-mine", "cancel-theirs"], 202),
    },
    "mine": {
        "list": ["mine"],
        "list-theirs": [],
        **dict.fromkeys(["mine", "stats"], 200),
        **dict.fromkeys(["theirs", "theirs-uid", "nobodys", "cancel-theirs"], 404),
        "cancel-mine": 202,
    },
    "no customers": {
        "list": [],
        "list-theirs": [],
        **dict.fromkeys(["mine", "theirs", "theirs-uid", "nobodys", "cancel-mine", "cancel-theirs"], 404),
        "stats": 200,
    },
    "reader": {
        "list": ["mine"],
        "list-theirs": [],
        "mine": 200,
        **dict.fromkeys(["theirs", "theirs-uid", "nobodys"], 404),
        **dict.fromkeys(["cancel-mine", "cancel-theirs", "stats"], 403),
    },
    "viewer": {
        "list": ["mine", "nobodys", "theirs"],
        "list-theirs": ["theirs"],
        **dict.fromkeys(["mine", "theirs", "theirs-uid", "nobodys", "stats"], 200),
        **dict.fromkeys(["cancel-mine", "cancel-theirs"], 403),
    },
    "person without permissions": dict.fromkeys(ENDPOINTS, 403),
}


@pytest.fixture
def builds(db: None) -> None:
    make_build(name="mine", uid="uid-mine", third_party_id="mine")
    make_build(name="theirs", uid="uid-theirs", third_party_id="theirs")
    make_build(name="nobodys", third_party_id=None)


@pytest.fixture
def caller(api: Api, session: Callable[..., Client]) -> Callable[[str], Client]:
    makers: dict[str, Callable[[], Client]] = {
        "nobody": client_of,
        "bad token": lambda: client_of("bp_unknown"),
        "no scope": lambda: api("metrics:read"),
        "all customers": api,
        "mine": lambda: api(customers=["mine", "another"]),
        "no customers": lambda: api(customers=[]),
        "reader": lambda: api("builds:read", customers=["mine"]),
        "viewer": lambda: session("view_build"),
        "person without permissions": session,
    }
    return lambda principal: makers[principal]()


@pytest.mark.parametrize(
    ("principal", "endpoint"), [(principal, endpoint) for principal in WALL for endpoint in ENDPOINTS]
)
@pytest.mark.usefixtures("builds")
def test_the_wall(caller: Callable[[str], Client], principal: str, endpoint: str) -> None:
    method, path = ENDPOINTS[endpoint]
    client = caller(principal)
    # A person's cancel without permission must end at the permission, not at a missing CSRF token.
    client.handler.enforce_csrf_checks = False
    answer = client.generic(method, path)
    expected = WALL[principal][endpoint]
    if isinstance(expected, list):
        assert sorted(build["id"] for build in answer.json()["builds"]) == expected
        assert answer.json()["total"] == len(expected)
    else:
        assert answer.status_code == expected, answer.content
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if method == "POST" and answer.status_code != 202:
        assert set(Build.objects.values_list("status", flat=True)) == {"running"}


@pytest.mark.usefixtures("builds")
def test_another_customers_build_is_told_like_a_missing_one(api: Api) -> None:
    client = api(customers=["mine"])
    told = []
    for key in ("theirs", "missing"):
        answer = client.get(f"/builds/{key}")
        body = answer.json()
        headers = {name: value for name, value in answer.headers.items() if name != "X-Correlation-ID"}
        headers.pop("Content-Length", None)
        varying = {name: body.pop(name) for name in ("timestamp", "duration", "correlation_id")}
        told.append((answer.status_code, headers, body, sorted(varying)))
    assert told[0] == told[1]


@pytest.mark.usefixtures("builds")
def test_another_customers_attempts_and_counts_stay_hidden(api: Api) -> None:
    make_build(name="mine", uid="uid-homonym", third_party_id="theirs")
    client = api(customers=["mine"])
    build = client.get("/builds/mine").json()["build"]
    assert build["uid"] == "uid-mine"
    assert [attempt["uid"] for attempt in build["attempts"]] == ["uid-mine"]
    assert client.get("/async-jobs/stats").json()["builds"] == {"pending": 0, "running": 1}


# --- Tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        *("Bearer", "Bearer ", "Bearer x", "bearer \t", "Bearer é", "Bearer \udce9", "Bearer " + "x" * 5000),
        *(
            "Bearer a b",
            "Basic YTpi",
            "Token {secret}",
            "{secret}",
            "Bearer{secret}",
            "Bearer {secret} x",
            "",
        ),
    ],
)
def test_anything_but_a_good_token_is_401(db: None, header: str) -> None:
    client = Client(headers={"Authorization": header.replace("{secret}", make_token())})
    answer = client.get("/builds")
    assert answer.status_code == 401
    assert answer.json()["code"] in ("not_authenticated", "invalid_token")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_in_any_case(db: None, scheme: str) -> None:
    assert Client(headers={"Authorization": f"{scheme} {make_token()}"}).get("/builds").status_code == 200


@pytest.mark.parametrize(
    "columns",
    [
        {"revoked_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(seconds=1)},
    ],
)
def test_a_revoked_or_expired_token_is_401(api: Api, columns: dict[str, Any]) -> None:
    answer = api(**columns).get("/builds")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert api(expires_at=timezone.now() + timedelta(hours=1)).get("/builds").status_code == 200


def test_the_token_of_somebody_who_left_is_401(api: Api) -> None:
    user = User.objects.create_user("gone", is_active=False)
    assert api(user=user).get("/builds").status_code == 401


def test_use_is_noted_once_a_minute(db: None) -> None:
    secret = make_token(last_used_at=None)
    with CaptureQueriesContext(connection) as first:
        client_of(secret).get("/builds")
    assert ApiToken.objects.get().last_used_at is not None
    with CaptureQueriesContext(connection) as second:
        client_of(secret).get("/builds")
    assert (len(first), len(second)) == (3, 2)


def test_a_bad_token_is_not_made_good_by_a_session(session: Callable[..., Client]) -> None:
    answer = session("view_build").get("/builds", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_a_token_needs_no_csrf(db: None) -> None:
    build = make_build()
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {make_token()}"})
    assert client.post(f"/builds/{build.name}/cancel", b"", "application/json").status_code == 202


# --- Sessions -----------------------------------------------------------------------------------------------


def test_a_session_costs_five_statements(session: Callable[..., Client]) -> None:
    make_build()
    browser = session("view_build")
    with CaptureQueriesContext(connection) as queries:
        assert browser.get("/builds").status_code == 200
    # The session, the person, their permissions and their groups', the rows.
    assert len(queries) == 5


def test_an_inactive_person_is_401(session: Callable[..., Client]) -> None:
    browser = session("view_build")
    User.objects.update(is_active=False)
    assert browser.get("/builds").status_code == 401


@pytest.mark.usefixtures("builds")
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override"])
def test_a_method_is_not_overridden(api: Api, header: str) -> None:
    client = api()
    assert client.get("/builds/mine/cancel", headers={header: "POST"}).status_code == 405
    assert client.post("/builds/mine?_method=GET", headers={header: "GET"}).status_code == 405
    assert set(Build.objects.values_list("status", flat=True)) == {"running"}
