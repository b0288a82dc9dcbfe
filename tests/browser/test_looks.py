"""The pages in light and dark, wide and narrow: nothing sticks out, and axe finds nothing serious."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page

from tests.browser.scene import Scene

# What the tests look at is kept where SCREENSHOTS says, so that docs/screenshots can be made anew.
KEEP_IN = os.environ.get("SCREENSHOTS")
SERIOUS = {"serious", "critical"}


def pages_of(scene: Scene) -> dict[str, str]:
    """What is looked at: the picture's name and the path."""
    running = scene.running
    return {
        "list": reverse("console:builds"),
        "list-empty": reverse("console:builds") + "?third_party_id=nobody",
        "build-running": reverse("console:build", args=[running.uid]),
        "build-failed": reverse("console:build", args=[scene.failed.uid]),
        "build-cancelled": reverse("console:build", args=[scene.cancelled.uid]),
        "cancel": reverse("console:cancel", args=[running.uid]),
        "cancel-refused": reverse("console:cancel", args=[scene.failed.uid]),
        "admin-list": reverse("admin:builds_build_changelist"),
        "admin-build": reverse("admin:builds_build_change", args=[running.pk]),
        "admin-cancel": reverse("admin:builds_build_cancel") + f"?id={running.pk}&id={scene.failed.pk}",
    }


def serious_violations(page: Page) -> list[str]:
    """What axe calls serious or critical, with where it is."""
    # Without preload: axe would ask for what style sheets import, relative to the page instead of to them.
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} ({node.get('failureSummary', '')[:200]})"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_accessible_and_fit(
    sign_in: Callable[..., Page], scene: Scene, tmp_path: Path, *, dark: bool, width: int
) -> None:
    page = sign_in(dark=dark, width=width)
    problems: dict[str, list[str]] = {}
    for name, path in pages_of(scene).items():
        page.goto(path)
        folder = Path(KEEP_IN) if KEEP_IN else tmp_path
        page.screenshot(path=folder / f"{name}-{'dark' if dark else 'light'}-{width}.png", full_page=True)
        # Django's own admin templates are Django's to keep accessible; ours are held to it.
        found = [] if name in ("admin-list", "admin-build") else serious_violations(page)
        sideways_px = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if sideways_px > 0 and not name.startswith("admin"):
            found.append(f"{sideways_px} px stick out")
        if found:
            problems[name] = found
    assert not problems


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_way_in_is_accessible(open_browser: Callable[..., Page], tmp_path: Path, *, dark: bool) -> None:
    page = open_browser(dark=dark, width=390)
    page.goto("/console/")
    folder = Path(KEEP_IN) if KEEP_IN else tmp_path
    page.screenshot(path=folder / f"sign-in-{'dark' if dark else 'light'}-390.png")
    assert serious_violations(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_cancel_dialog_is_accessible(
    sign_in: Callable[..., Page], scene: Scene, tmp_path: Path, *, dark: bool
) -> None:
    page = sign_in(dark=dark)
    page.goto(reverse("console:build", args=[scene.running.uid]))
    page.get_by_role("link", name="Cancel build").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the build").wait_for()
    folder = Path(KEEP_IN) if KEEP_IN else tmp_path
    page.screenshot(path=folder / f"cancel-dialog-{'dark' if dark else 'light'}-1440.png")
    assert serious_violations(page) == []
