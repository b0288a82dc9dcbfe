"""Callers of the API: programs with a token, people with a session."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.builders import make_token

Api = Callable[..., Client]


def client_of(secret: str | None = None, **headers: str) -> Client:
    """A program that sends this token with each request; None: without one."""
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    return Client(headers=headers)


@pytest.fixture
def api(db: None) -> Api:
    """Make a program with a new token: `api()` may all, `api("builds:read", customers=["a"])` less."""

    def make(*scopes: str, **over: Any) -> Client:
        return client_of(make_token(*scopes, **over))

    return make


@pytest.fixture
def session(db: None) -> Callable[..., Client]:
    """Make a browser in which somebody with these permissions is signed in; CSRF is checked as for real."""

    def make(*permissions: str, **columns: Any) -> Client:
        user = User.objects.create_user(f"person-{User.objects.count()}", **columns)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(user)
        return browser

    return make
