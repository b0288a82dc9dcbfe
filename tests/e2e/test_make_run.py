"""`make run`: ready, true to its word, stopped without a trace, and back with its state."""

import http.cookiejar
import os
import re
import signal
import stat
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.portal import Portal
from tests.processes import wait_until

pytestmark = pytest.mark.e2e


def left_behind(state_dir: Path) -> list[str]:
    """The command lines of all processes that were started for the folder."""
    mark = f"STATE_DIR={state_dir}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found


def test_it_says_where_it_is(demo: Portal) -> None:
    output = demo.process.output
    assert stat.S_IMODE((demo.state_dir / "run.json").stat().st_mode) == 0o600
    assert demo.url in output
    assert demo.token in output
    assert demo.admin[0] == "admin"
    assert demo.admin[1] in output
    assert f'curl -H "Authorization: Bearer {demo.token}" "{demo.url}/builds?limit=3"' in output
    assert demo.kubeconfig == demo.state_dir / "cluster" / "kubeconfig"
    assert demo.is_ready()


def test_builds_appear_within_seconds(demo: Portal) -> None:
    wait_until(lambda: demo.get("/builds")["total"] >= 3, 15, "three builds")
    stats = wait_until(lambda: (s := demo.get("/async-jobs/stats"))["worker_count"] and s, 10, "a worker")
    assert stats["worker_count"] == 4
    assert stats["is_shutdown"] is False
    assert stats["stale"] is False


def test_the_admin_login_works(demo: Portal) -> None:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = browser.open(f"{demo.url}/admin/login/", timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token
    form = {"csrfmiddlewaretoken": token.group(1), "username": demo.admin[0], "password": demo.admin[1]}
    data = urllib.parse.urlencode({**form, "next": "/admin/"}).encode()
    request = urllib.request.Request(f"{demo.url}/admin/login/", data, {"Referer": demo.url})
    with browser.open(request, timeout=10) as answer:
        assert answer.status == 200
        assert "Log out" in answer.read().decode()


def test_what_is_private_is_the_owners_alone(demo: Portal) -> None:
    for name in ("run.json", "pids.json", "secret_key", "admin_password", "api_token"):
        assert stat.S_IMODE((demo.state_dir / name).stat().st_mode) == 0o600, name


def test_it_ends_without_a_trace_however_it_is_ended_and_the_next_start_finds_its_state(
    tmp_path: Path,
) -> None:
    """In a folder whose name is long and odd, one life after the other."""
    folder = tmp_path / "it's a 50% #1 folder+more?" / ("long" * 25)
    with Portal.start(folder) as portal:
        wait_until(lambda: portal.get("/builds")["total"], 15, "a build")
        oldest = portal.get("/builds?ordering=created_at&limit=1")["builds"][0]
        assert_it_stops(portal, signal.SIGTERM)
    with Portal.start_again(folder, portal.variables) as again:
        assert (again.token, again.admin) == (portal.token, portal.admin)
        assert again.build(oldest["uid"])["created_at"] == oldest["created_at"]
        assert_it_stops(again, signal.SIGINT)


def assert_it_stops(portal: Portal, number: signal.Signals) -> None:
    """Within ten seconds, in order, and with nothing left running."""
    begin_s = time.monotonic()
    assert portal.stop(number) == 0
    assert time.monotonic() - begin_s < 10
    assert left_behind(portal.state_dir) == []
    assert not (portal.state_dir / "run.json").exists()


def test_a_supervisor_that_is_killed_takes_all_with_it_and_the_next_one_starts(tmp_path: Path) -> None:
    with Portal.start(tmp_path) as portal:
        os.kill(portal.pid_of("supervisor"), signal.SIGKILL)
        portal.process.wait(5)
        wait_until(lambda: not left_behind(tmp_path), 5, "the end of all processes")
        assert (tmp_path / "valkey.sock").is_socket(), "the stale socket that the next start meets"
    with Portal.start_again(tmp_path, portal.variables) as again:
        assert again.token == portal.token
        assert again.is_ready()
        assert_it_stops(again, signal.SIGHUP)
