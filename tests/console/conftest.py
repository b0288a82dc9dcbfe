"""People of every sort, and pages whose style sheets need not be collected first."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Make somebody with the permissions named, as `view_build`."""

    def make(
        *permissions: str, name: str = "ada", is_staff: bool = False, is_superuser: bool = False
    ) -> User:
        user = User.objects.create(username=name, is_staff=is_staff, is_superuser=is_superuser)
        found = list(Permission.objects.filter(content_type__app_label="builds", codename__in=permissions))
        assert len(found) == len(permissions), "a permission of this name does not exist"
        user.user_permissions.set(found)
        return user

    return make


@pytest.fixture
def signed_in(person: Callable[..., User]) -> Callable[..., Client]:
    """A browser in which somebody with these permissions is signed in; CSRF is checked as for real."""

    def make(*permissions: str, **columns: bool) -> Client:
        browser = Client(enforce_csrf_checks=bool(columns.pop("csrf", False)))
        browser.force_login(person(*permissions, **columns))
        return browser

    return make


@pytest.fixture
def viewer(signed_in: Callable[..., Client]) -> Client:
    """Signed in with `view_build` alone."""
    return signed_in("view_build")


@pytest.fixture
def canceller(signed_in: Callable[..., Client]) -> Client:
    """Signed in, may look and cancel."""
    return signed_in("view_build", "cancel_build")
