"""Each figure of the bench, measured on the portal's own processes; imported when Django has been set up."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from builds import sync
from builds.kube import Cluster, ClusterConfig
from builds.models import Build, BuildEvent, NamespaceSync
from tests.bench.figures import Figure, percentile
from tests.bench.objects import EMPTY_NAMESPACE, NAMESPACE
from tests.processes import Process, wait_until

READING_TIMEOUT_S = 400
LIST_TIMEOUT_S = 180
POLL_S = 0.01
TRANSITIONS = {"pending": "created", "running": "running", "succeeded": "complete"}
"""What a history row tells -> the change that was sent for it."""
WRITES = ("INSERT", "UPDATE", "DELETE")
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The server to be read."""

    kubeconfig: Path
    url: str


def everything(
    folder: Path, *, jobs: int, rate_per_s: int, steady_s: int, idle_s: int, say: Say
) -> list[Figure]:
    """All figures, in the order in which they are measured; says what it is at."""
    call_command("migrate", verbosity=0)
    figures: list[Figure] = []
    with Process.python("-m", "tests.bench.cluster", str(folder), str(jobs)) as server:
        server.wait_for_output("ready at ")
        url = server.output.partition("ready at ")[2].partition(",")[0]
        target = Target(folder / "kubeconfig", url)
        say(f"Reading {jobs:,} Jobs and their pods with the gateway, then with the official client.")
        figures += reading(target, jobs)
        say("Watching: the first list, to committed rows.")
        with _watcher(target, EMPTY_NAMESPACE) as empty:
            _wait_for_list(EMPTY_NAMESPACE)
            peak_without_mb = _peak_mb(empty.pid)
            empty.terminate()
        begun = time.monotonic()
        with _watcher(target, NAMESPACE) as watcher:
            _wait_for_list(NAMESPACE)
            figures += first_list(watcher, jobs, time.monotonic() - begun, peak_without_mb)
            say(f"Idle for {idle_s} s.")
            figures.append(idle(watcher, idle_s))
            say(f"{rate_per_s} changes per second for {steady_s} s.")
            figures += steady(target, watcher, rate_per_s, steady_s)
            watcher.terminate()
        say("Listing again with nothing new.")
        figures += resync(target, jobs)
    return figures


# --- The first list -----------------------------------------------------------------------------------------


def reading(target: Target, jobs: int) -> list[Figure]:
    """Both readers in processes of their own."""
    told = {who: _read_by(who, target) for who in ("gateway", "official")}
    for who, said in told.items():
        if (said["jobs"], said["pods"]) != (jobs, jobs):
            raise SystemExit(
                f"The {who} reader found {said['jobs']} Jobs and {said['pods']} pods, not {jobs}."
            )
    return [
        Figure("reading and decoding, gateway", told["gateway"]["seconds"], "s"),
        Figure("reading and decoding, official client", told["official"]["seconds"], "s"),
        Figure("times faster", told["official"]["seconds"] / told["gateway"]["seconds"], "", ">= 5"),
    ]


def _read_by(who: str, target: Target) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reading", who, str(target.kubeconfig)],
        capture_output=True,
        text=True,
        timeout=READING_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"The {who} reader failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def first_list(watcher: Process, jobs: int, took_s: float, peak_without_mb: float) -> list[Figure]:
    """To be called when the list has been committed."""
    rows = Build.objects.filter(namespace=NAMESPACE).count()
    return [
        Figure("first list, rows committed", rows, "builds", f"= {jobs}"),
        Figure("first list, from the start of watch_builds to committed rows", took_s, "s"),
        Figure("first list, added peak memory", _peak_mb(watcher.pid) - peak_without_mb, "MB", "< 100"),
    ]


def _watcher(target: Target, namespace: str) -> Process:
    return Process.manage("watch_builds", env={"KUBECONFIG": str(target.kubeconfig), "NAMESPACES": namespace})


def _wait_for_list(namespace: str) -> None:
    listed = NamespaceSync.objects.filter(namespace=namespace, listed_at__isnull=False)
    wait_until(listed.exists, LIST_TIMEOUT_S, f"namespace {namespace} is listed", every_s=0.1)


def _peak_mb(pid: int) -> float:
    """The highest resident size that the process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("This system does not tell peak memory in /proc/PID/status.")


# --- Nothing changes ----------------------------------------------------------------------------------------


def idle(watcher: Process, lasts_s: int) -> Figure:
    """CPU of the watcher with all Jobs known, after what follows a list has been done."""
    time.sleep(5)
    before_s = _cpu_s(watcher.pid)
    time.sleep(lasts_s)
    share = (_cpu_s(watcher.pid) - before_s) / lasts_s
    return Figure("CPU when nothing changes", 100 * share, "% of a core", "< 2")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def resync(target: Target, jobs: int) -> list[Figure]:
    """What `tasks.reconcile` does, twice: once for what happened since, once for nothing."""
    cluster = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=target.kubeconfig))
    # The builds that were played are in no list: out of the way, so that nothing is missing.
    Build.objects.filter(namespace=NAMESPACE, observed_version__gte=1000 + jobs).delete()
    versions = Build.objects.values_list("pk", "version")
    before = dict(versions)
    begun = time.monotonic()
    with CaptureQueriesContext(connection) as captured:
        sync.reconcile(cluster, NAMESPACE)
    took_s = time.monotonic() - begun
    cluster.close()
    statements = [one["sql"] for one in captured.captured_queries]
    writes = [sql for sql in statements if sql.lstrip().upper().startswith(WRITES)]
    about_builds = [sql for sql in writes if "builds_namespacesync" not in sql]
    changed = sum(before[pk] != version for pk, version in versions)
    return [
        Figure("unchanged resync, writes about builds", len(about_builds), "statements", "= 0"),
        Figure("unchanged resync, rows changed", changed, "builds", "= 0"),
        Figure("unchanged resync, all statements", len(statements), f"statements for {jobs:,} Jobs"),
        Figure("unchanged resync, time", took_s, "s"),
    ]


# --- A steady stream ----------------------------------------------------------------------------------------


def steady(target: Target, watcher: Process, rate_per_s: int, lasts_s: int) -> list[Figure]:
    """From the moment a change was sent to the moment its history row could be read by another process."""
    seen_at: dict[tuple[str, str], float] = {}
    newest = BuildEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    sent: dict[str, dict[str, float]] = {}

    def play() -> None:
        url = f"{target.url}/bench/play?rate={rate_per_s}&seconds={lasts_s}"
        request = urllib.request.Request(url, method="POST")
        with urllib.request.urlopen(request, timeout=3 * lasts_s + 60) as answer:
            sent.update(json.load(answer))

    player = threading.Thread(target=play)
    begun, spent_s = time.monotonic(), _cpu_s(watcher.pid)
    player.start()
    expected = None
    while expected is None or len(seen_at) < expected:
        rows = list(
            BuildEvent.objects.filter(pk__gt=newest, to_status__isnull=False)
            .order_by("pk")
            .values_list("pk", "build__uid", "to_status")
        )
        now = time.time()
        for pk, uid, status in rows:
            newest = pk
            seen_at[str(uid), str(status)] = now
        if sent:
            expected = len(sent) * len(TRANSITIONS)
        if time.monotonic() - begun > 3 * lasts_s + 60:
            break
        time.sleep(POLL_S)
    cpu_share = (_cpu_s(watcher.pid) - spent_s) / (time.monotonic() - begun)
    player.join()
    lags_s = [
        seen_at[uid, status] - steps[step]
        for uid, steps in sent.items()
        for status, step in TRANSITIONS.items()
        if (uid, status) in seen_at
    ]
    moments = sorted(at for steps in sent.values() for at in steps.values())
    # The first and the last builds live alone: the rate is that of the middle.
    middle = moments[len(moments) // 4 : 3 * len(moments) // 4]
    rate = (len(middle) - 1) / (middle[-1] - middle[0])
    return [
        Figure("steady stream, changes per second", rate, "1/s", f">= {0.98 * rate_per_s:g}"),
        Figure(
            "steady stream, transitions recorded", len(lags_s), "rows", f"= {len(sent) * len(TRANSITIONS)}"
        ),
        Figure("steady stream, lag p50", percentile(lags_s, 0.50), "s"),
        Figure("steady stream, lag p99", percentile(lags_s, 0.99), "s", "< 1"),
        Figure("steady stream, longest lag", max(lags_s), "s"),
        Figure("steady stream, CPU of watch_builds", 100 * cpu_share, "% of a core"),
    ]
