"""Chromium, people who sign in with it, and rows that look like a working day."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from builds.models import NamespaceSync
from tests.browser.scene import Scene, set_the_scene

PASSWORD = "a long enough password"
PATIENCE_MS = 15_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's or anybody's Chromium, named by CHROMIUM."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.access(chromium, os.X_OK):
        pytest.fail(f"The browser tests need Chromium, and {chromium} is no program; set CHROMIUM.")
    # Playwright's event loop runs in this thread, in which the tests also make rows.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=[*quiet, *as_root, "--disable-gpu", "--disable-quic"]
        )
        yield started
        started.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def is_complaint(message: ConsoleMessage) -> bool:
    """An error, other than that a page was answered with the 409 that a test asked for."""
    return message.type == "error" and "409 (Conflict)" not in message.text


@pytest.fixture
def open_browser(browser: Browser, live_server: LiveServer) -> Iterator[Callable[..., Page]]:
    """Open a tab of its own; what its console complains about (a blocked script, say) fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(*, dark: bool = False, width: int = 1440, scripts: bool = True) -> Page:
        context = browser.new_context(
            base_url=live_server.url,
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 900 if width > 800 else 844},
            locale="en-GB",
            timezone_id="UTC",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert not complaints, f"the browser's console says: {complaints}"


@pytest.fixture
def person(live_server: LiveServer) -> User:
    """Staff who may look and cancel."""
    user = User.objects.create_user("maria", password=PASSWORD, is_staff=True)
    wanted = ["view_build", "cancel_build", "view_buildevent", "view_namespacesync", "view_outgoingevent"]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    NamespaceSync.objects.create(
        namespace="knative-lambda",
        listed_at=timezone.now(),
        watched_at=timezone.now() + timedelta(minutes=10),  # fresh for the whole test
    )
    return user


@pytest.fixture
def sign_in(person: User, open_browser: Callable[..., Page]) -> Callable[..., Page]:
    """A tab in which that person has signed in through the form, on the list."""

    def make(**how: bool | int) -> Page:
        page = open_browser(**how)
        page.goto("/console/")
        page.get_by_label("Username").fill("maria")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Builds").wait_for()
        return page

    return make


@pytest.fixture
def scene(person: User) -> Scene:
    """A working day's builds."""
    return set_the_scene()
