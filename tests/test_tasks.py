"""Real workers, a real watcher and the stand-in cluster: what was dropped on the way is done all the same."""

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from builds import actions
from builds.actions import CancelOutcome
from builds.models import Access, Build, BuildLog, Scope
from builds.states import Status
from tests.cluster import DevCluster
from tests.processes import Process, wait_until
from tests.valkey import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

ANN = Access(actor="ann", key="user:1", scopes=frozenset(Scope.values), third_party_ids=None)
LONG = {"run-seconds": 60, "schedule-seconds": 0, "pull-seconds": 0.05, "log-lines": 600, "term-seconds": 0.1}


@pytest.fixture
def environment(process_environment: dict[str, str], cluster: DevCluster) -> dict[str, str]:
    return process_environment | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "SWEEP_INTERVAL_S": "0.5",
        "LIVE_LOG_INTERVAL_S": "1",
        "RECONCILE_INTERVAL_S": "2",
        "MISSING_GRACE_S": "1",
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DevCluster]:
    """A stand-in of this test's own, which it may stop."""
    cluster = DevCluster.start(tmp_path / "cluster")
    yield cluster
    cluster.stop()


@pytest.fixture
def worker(environment: dict[str, str]) -> Iterator[Process]:
    with Process.worker(env=environment, concurrency=4) as worker:
        worker.wait_for_output("ready")
        yield worker


@pytest.fixture
def beat(environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    schedule = str(tmp_path / "schedule")
    with Process.python(
        *("-m", "celery", "-A", "buildportal", "beat", "--schedule", schedule, "--pidfile="), env=environment
    ) as beat:
        yield beat


@pytest.fixture
def watcher(environment: dict[str, str]) -> Iterator[Process]:
    with Process.manage("watch_builds", env=environment) as watcher:
        yield watcher


def status_of(name: str) -> str | None:
    return Build.objects.filter(name=name).values_list("status", flat=True).first()


def a_running_build(cluster: DevCluster) -> Build:
    name = f"build-acme-orders-{uuid4().hex[:8]}"
    cluster.create_job(name, sim=LONG)
    wait_until(lambda: status_of(name) == Status.RUNNING, 15, f"{name} runs")
    return Build.objects.get(name=name)


def is_cancelled(build: Build) -> bool:
    return status_of(build.name) == Status.CANCELLED


@pytest.mark.usefixtures("worker", "watcher")
def test_the_watch_and_one_worker_are_enough(cluster: DevCluster) -> None:
    build = a_running_build(cluster)
    answer = actions.cancel(build, by=ANN, wait_s=5)
    assert (answer.outcome, answer.build.status) == (CancelOutcome.STARTED, Status.CANCELLED)
    assert cluster.job_gone(build.name)
    short = f"build-acme-orders-{uuid4().hex[:8]}"
    cluster.create_job(short, sim={"run-seconds": 1, "schedule-seconds": 0, "log-lines": 5, "exit-code": 3})
    wait_until(lambda: status_of(short) == Status.FAILED, 15, "the short build failed")
    failed = Build.objects.get(name=short)
    assert (failed.status_reason, failed.error_exit_code) == ("error", 3)
    kept = BuildLog.objects.filter(build=failed, is_final=True)
    wait_until(kept.exists, 10, "its log is kept")
    assert kept.get().text.count("\n") >= 5


@pytest.mark.usefixtures("worker", "beat")
def test_without_a_watcher_the_list_is_enough(cluster: DevCluster) -> None:
    build = a_running_build(cluster)
    stored = BuildLog.objects.filter(build=build)
    wait_until(stored.exclude(text="").exists, 10, "the live log is stored")
    begun = stored.get().text
    wait_until(lambda: len(stored.get().text) > len(begun), 10, "the live log grows")
    cluster.delete_job(build.name)
    wait_until(lambda: status_of(build.name) == Status.FAILED, 15, "the missing build is found")
    assert Build.objects.get(pk=build.pk).status_reason == "lost"


@pytest.mark.usefixtures("watcher", "worker")
def test_a_job_deleted_by_hand_was_seen_to_be_deleted(cluster: DevCluster) -> None:
    build = a_running_build(cluster)
    cluster.delete_job(build.name)
    wait_until(lambda: status_of(build.name) == Status.FAILED, 10, "the deletion is seen")
    assert Build.objects.get(pk=build.pk).status_reason == "deleted"


@pytest.mark.usefixtures("watcher", "beat")
def test_a_worker_killed_in_the_middle(cluster: DevCluster, environment: dict[str, str]) -> None:
    build = a_running_build(cluster)
    cluster.pause()
    with Process.worker(env=environment) as doomed:
        doomed.wait_for_output("ready")
        actions.cancel(build, by=ANN, wait_s=0)
        wait_until(lambda: Build.objects.get(pk=build.pk).cancellation.tries > 0, 15, "the worker is at it")
        doomed.send(signal.SIGKILL)
        doomed.wait()
    cluster.resume()
    assert status_of(build.name) == Status.CANCELLING
    with Process.worker(env=environment):
        wait_until(lambda: is_cancelled(build), 25, "another worker has carried it out")
    assert Build.objects.get(pk=build.pk).cancellation.job_outcome == "deleted"


@pytest.mark.usefixtures("watcher", "beat", "worker")
def test_a_stopped_broker_delays_and_loses_nothing(cluster: DevCluster, valkey: Valkey) -> None:
    build = a_running_build(cluster)
    valkey.stop()
    try:
        answer = actions.cancel(build, by=ANN, wait_s=0.2)
        assert answer.build.status == Status.CANCELLING
    finally:
        valkey.start()
    wait_until(lambda: is_cancelled(build), 25, "it was carried out after the broker's return")


@pytest.mark.usefixtures("beat", "worker")
def test_a_stopped_cluster_delays_and_loses_nothing(cluster: DevCluster, environment: dict[str, str]) -> None:
    with Process.manage("watch_builds", env=environment):
        build = a_running_build(cluster)
        cluster.stop()
        answer = actions.cancel(build, by=ANN, wait_s=0.2)
        assert answer.build.status == Status.CANCELLING
        wait_until(
            lambda: Build.objects.get(pk=build.pk).cancellation.last_error != "", 15, "the trouble is noted"
        )
        back = DevCluster.start(cluster.state_dir)
        try:
            wait_until(lambda: is_cancelled(build), 10, "it was carried out within 10 s of the return")
            assert Build.objects.get(pk=build.pk).cancellation.job_outcome == "deleted"
        finally:
            back.stop()


def test_another_cluster_is_refused(cluster: DevCluster, environment: dict[str, str], tmp_path: Path) -> None:
    with Process.manage("watch_builds", env=environment) as first:
        a_running_build(cluster)
        assert first.terminate() == 0
    other = DevCluster.start(tmp_path / "other")
    try:
        with Process.manage(
            "watch_builds", env=environment | {"KUBECONFIG": str(other.kubeconfig)}
        ) as second:
            assert second.wait(15) != 0
            assert "This database records the cluster" in second.output
            assert "Traceback" not in second.output
    finally:
        other.stop()
