"""What people do with the pages in a browser: look, see changes come by themselves, cancel, be told."""

import re
from collections.abc import Callable
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db.models import F
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from builds.models import Build, BuildLog, Cancellation
from builds.states import Status
from tests.browser.scene import Scene
from tests.builders import make_build


def confirm(build: Build) -> None:
    """Write down what the worker does once the cluster has confirmed."""
    build.refresh_from_db()
    now = timezone.now()
    assert build.move_to(Status.CANCELLED, source="worker", completed_at=now, gone_at=now)
    Cancellation.objects.filter(build=build).update(
        confirmed_at=now,
        job_outcome=Cancellation.JobOutcome.DELETED,
        pods_outcome=Cancellation.PodsOutcome.TERMINATING,
        next_look_at=now,
    )


def test_from_sign_in_to_the_receipt(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    running = scene.running
    page.get_by_role("link", name="Active", exact=True).click()
    expect(page).to_have_url(re.compile(r"status=active"))
    expect(page.get_by_text(scene.failed.name)).to_have_count(0)
    page.get_by_role("link", name=running.name).click()
    expect(page.get_by_role("heading", name=running.name)).to_be_visible()
    expect(page.locator("#log")).to_contain_text("INFO[0004] RUN npm ci")

    page.get_by_role("link", name="Cancel build").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("It is stuck or far too slow").check()
    dialog.get_by_label("In your words").fill("no output for an hour")
    dialog.get_by_role("button", name="Cancel the build").dblclick()

    receipt = page.get_by_role("region", name="Cancellation")
    expect(receipt).to_contain_text("maria")
    expect(receipt).to_contain_text("Stuck or far too slow: no output for an hour")
    expect(receipt).to_contain_text("Not yet")
    expect(page.get_by_role("link", name="Cancel build")).to_have_count(0)
    assert Cancellation.objects.filter(build=running).count() == 1

    confirm(running)
    expect(page.locator(".build-state")).to_contain_text("Cancelled")
    expect(receipt).to_contain_text("Deleted")
    expect(receipt).to_contain_text("Still ending")
    Cancellation.objects.filter(build=running).update(
        pods_outcome=Cancellation.PodsOutcome.GONE, next_look_at=None
    )
    expect(receipt).to_contain_text("Gone")


def test_the_list_follows_and_leaves_everything_in_its_place(
    sign_in: Callable[..., Page], scene: Scene
) -> None:
    page = sign_in()
    link = page.get_by_role("link", name=scene.running.name)
    link.focus()
    page.evaluate("window.scrollTo(0, 240)")
    page.get_by_label("Customer").evaluate("field => { field.value = 'half typed' }")
    row = page.locator(f"#build-{scene.running.pk}")
    row.evaluate("row => { row.marked = true }")
    page.evaluate(
        "selector => getSelection().selectAllChildren(document.querySelector(selector))",
        f"#build-{scene.failed.pk} .cell-name .sub",
    )
    selected = page.evaluate("getSelection().toString()")
    assert "2Gi" in selected

    arrived = make_build(name="build-new-arrival", created_at=timezone.now())
    scene.running.refresh_from_db()
    ended_at = timezone.now()
    assert scene.running.move_to(Status.SUCCEEDED, source="watch", completed_at=ended_at)
    expect(row).to_contain_text("Succeeded")
    expect(page.get_by_role("link", name=arrived.name)).to_be_visible()

    assert row.evaluate("row => row.marked") is True
    assert page.evaluate("getSelection().toString()") == selected
    assert page.get_by_label("Customer").input_value() == "half typed"
    expect(link).to_be_focused()
    assert page.evaluate("window.scrollY") > 200


def test_ages_and_durations_go_on_by_themselves(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    duration = page.locator(f"#build-{scene.running.pk} .cell-duration")
    before = duration.inner_text()
    expect(duration).not_to_have_text(before, timeout=3_000)
    assert page.locator("time.clock").first.get_attribute("title")


def test_a_finished_build_is_left_alone(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    page.goto(reverse("console:build", args=[scene.running.uid]))
    build = scene.running
    build.refresh_from_db()
    assert build.move_to(Status.SUCCEEDED, source="watch", completed_at=timezone.now())
    BuildLog.objects.filter(build=build).update(is_final=True, text=F("text"))
    expect(page.locator(".build-state")).to_contain_text("Succeeded")
    expect(page.locator("#log").locator("xpath=..")).to_contain_text("final")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4_500)
    assert asked == []


def test_a_log_grows_in_place(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    page.goto(reverse("console:build", args=[scene.running.uid]))
    page.evaluate(
        "getSelection().setBaseAndExtent(document.querySelector('#log').firstChild, 0, "
        "document.querySelector('#log').firstChild, 4)"
    )
    log = BuildLog.objects.get(build=scene.running)
    log.text += "\x1b[36mINFO\x1b[0m[0031] Pushing image\n"
    log.save()
    expect(page.locator("#log")).to_contain_text("INFO[0031] Pushing image")
    assert page.evaluate("getSelection().toString()") == "INFO"


def test_a_build_that_ends_behind_an_open_dialog_is_explained(
    sign_in: Callable[..., Page], scene: Scene
) -> None:
    page = sign_in()
    page.goto(reverse("console:build", args=[scene.running.uid]))
    page.get_by_role("link", name="Cancel build").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel the build").wait_for()
    scene.running.refresh_from_db()
    assert scene.running.move_to(Status.SUCCEEDED, source="watch", completed_at=timezone.now())
    with page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        dialog.get_by_role("button", name="Cancel the build").click()
    assert posted.value.status == 409
    expect(page.get_by_role("heading", name="There is nothing left to cancel")).to_be_visible()


def test_the_dialog_is_left_by_key_and_by_link(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    page.goto(reverse("console:build", args=[scene.running.uid]))
    for leave in (lambda: page.keyboard.press("Escape"), lambda: page.get_by_text("Keep it running").click()):
        page.get_by_role("link", name="Cancel build").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        leave()
        expect(page.get_by_role("dialog")).to_have_count(0)
    scene.running.refresh_from_db()
    assert scene.running.status == Status.RUNNING


def test_an_ended_session_leads_to_the_way_in(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    Session.objects.all().delete()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_everything_works_without_scripts(open_browser: Callable[..., Page], scene: Scene) -> None:
    page = open_browser(scripts=False)
    page.goto(reverse("console:build", args=[scene.running.uid]))
    page.get_by_label("Username").fill("maria")
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Cancel build").click()
    page.get_by_label("It was started by mistake").check()
    page.get_by_role("button", name="Cancel the build").click()
    expect(page.get_by_role("region", name="Cancellation")).to_contain_text("Started by mistake")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_staff_cancel_in_the_admin(sign_in: Callable[..., Page], scene: Scene) -> None:
    page = sign_in()
    page.get_by_role("link", name="Admin").click()
    page.goto(reverse("admin:builds_build_changelist"))
    for build in (scene.running, scene.failed):
        page.get_by_role("row", name=build.name).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option(label="Cancel the chosen builds …")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("This build will be cancelled:")).to_be_visible()
    page.get_by_label("Reason:").fill("maintenance")
    page.get_by_role("button", name="Cancel 1 build").click()
    expect(page.get_by_role("row", name=scene.running.name)).to_contain_text("carried out as soon as")
    expect(page.get_by_role("row", name=scene.failed.name)).to_contain_text("Nothing to cancel")
    scene.running.refresh_from_db()
    assert scene.running.status == Status.CANCELLING
    assert scene.running.cancellation.requested_at > timezone.now() - timedelta(minutes=1)
