"""What happens to a whole cluster, or while no watcher runs: each test has its own cluster and watcher."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from django.utils import timezone

from builds import sync
from builds.kube import Cluster, ClusterConfig
from builds.models import Build
from tests.cluster import NAMESPACE, DevCluster, jobs_path
from tests.faults.scene import LONG, Scene, portal_variables
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "builds"
Watch = Callable[..., Scene]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevCluster]:
    cluster = DevCluster.start(tmp_path / "cluster", 0, False, "--bookmark-every", "1")
    yield cluster
    cluster.stop()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """`watch(cluster, kubeconfig=…)`: a new watcher, stopped at the end of the test."""
    with ExitStack() as stack:

        def started(
            cluster: DevCluster, kubeconfig: Path | None = None, namespaces: str = NAMESPACE
        ) -> Scene:
            variables = portal_variables(kubeconfig or cluster.kubeconfig, tmp_path)
            process = Process.manage("watch_builds", env={**variables, "NAMESPACES": namespaces})
            return Scene(cluster, stack.enter_context(process), NAMESPACE)

        yield started


def was_listed_since(scene: Scene, begun: datetime) -> bool:
    return scene.sync.listed_at is not None and scene.sync.listed_at > begun


def test_a_token_that_is_rotated_in_its_file(own: DevCluster, watch: Watch, tmp_path: Path) -> None:
    config = yaml.safe_load(own.kubeconfig.read_text())
    token_file = tmp_path / "token"
    token_file.write_text(own.token)
    for user in config["users"]:
        if user["name"] == "token":
            user["user"] = {"tokenFile": str(token_file)}
    kubeconfig = tmp_path / "with-token-file"
    kubeconfig.write_text(yaml.safe_dump(config))
    scene = watch(own, kubeconfig)
    scene.assert_followed(within_s=25)
    with own.fault("revoke") as revoked:
        own.token = revoked.token
        with scene.cluster.fault("error", verb="watch", code=410, times=3):
            name = scene.job()
            wait_until(
                lambda: "401" in scene.sync.last_error or "nauthorized" in scene.sync.last_error, 10, "401"
            )
        token_file.write_text(revoked.token)
        scene.wait_for(name, "succeeded")
        scene.assert_followed()
        scene.assert_told_once()


def test_clocks_that_are_minutes_apart(own: DevCluster, watch: Watch) -> None:
    scene = watch(own)
    scene.assert_followed(within_s=25)
    for ahead_s in (300, -300):
        with own.fault("skew", delay_s=ahead_s):
            good, bad, deleted = scene.job(), scene.job({"exit-code": 3}), scene.job(LONG)
            scene.wait_for(deleted, "running")
            own.delete_job(deleted, NAMESPACE)
            build = scene.wait_for(good, "succeeded")
            assert abs(build.created_at - timezone.now() - timedelta(seconds=ahead_s)) < timedelta(seconds=30)
            assert build.completed_at is not None
            assert build.completed_at >= build.created_at
            assert scene.wait_for(bad, "failed", "error").error_exit_code == 3
            scene.wait_for(deleted, "failed", "deleted")
    assert scene.warnings() == []


def test_a_cluster_that_is_restored_from_a_backup(own: DevCluster, watch: Watch, tmp_path: Path) -> None:
    scene = watch(own)
    scene.assert_followed(within_s=25)
    kept = scene.job({"run-seconds": 9})
    scene.wait_for(kept, "running")
    own.backup(tmp_path / "backup")
    lost = scene.job(LONG)
    done = scene.job()
    scene.wait_for(done, "succeeded")
    scene.wait_for(lost, "running")
    patch = {"metadata": {"annotations": {"note": "a version that the restored cluster has yet to reach"}}}
    path = f"{jobs_path(NAMESPACE)}/{kept}"
    own.ok("PATCH", path, body=patch, content_type="application/merge-patch+json")
    own.ok("PATCH", path, body={"spec": {"suspend": False}}, content_type="application/merge-patch+json")
    restored = own.restored(tmp_path / "backup")
    try:
        scene = Scene(restored, scene.watcher, NAMESPACE)
        scene.wait_for(kept, "succeeded", within_s=30)
        scene.assert_followed()
        gateway = Cluster.connect(ClusterConfig("kubeconfig", restored.kubeconfig))

        def is_lost() -> bool:
            sync.reconcile(gateway, NAMESPACE)
            return scene.builds(lost)[0].status_reason == "lost"

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("django.conf.settings.MISSING_GRACE_S", 1)
            wait_until(is_lost, 10, "what the backup does not have is lost", every_s=0.5)
        gateway.close()
        assert scene.wait_for(done, "succeeded").gone_at is not None
        assert [line["event"] for line in scene.warnings()].count("watch in trouble") == 1
        # By the watcher or, if it is not silent for long enough, by the list above.
        assert scene.sync.troubles == 2, "the interruption, and that versions went back"
    finally:
        restored.stop()


def test_what_comes_and_goes_while_nobody_watches(own: DevCluster, watch: Watch) -> None:
    scene = watch(own)
    scene.assert_followed(within_s=25)
    ended, removed = (
        scene.job({"run-seconds": 1.5}),
        scene.job({"run-seconds": 1.5}, ttlSecondsAfterFinished=1),
    )
    for name in (ended, removed):
        scene.wait_for(name, "running")
    assert scene.watcher.terminate() == 0
    never_seen = scene.job(ttlSecondsAfterFinished=1)
    for name in (never_seen, removed):
        assert own.job_gone(name, NAMESPACE)
    own.wait_for_condition(ended, "Complete", NAMESPACE)
    scene = watch(own)
    scene.wait_for(ended, "succeeded")
    # The list says what is missing, a later one that it is lost.
    for _ in range(2):
        scene.wait_until_settled()
        with own.fault("error", verb="watch", resource="jobs", code=410, times=1):
            begun = timezone.now()
            wait_until(partial(was_listed_since, scene, begun), 15, "there is a new list")
    scene.wait_for(removed, "failed", "lost")
    assert not scene.builds(never_seen), "nothing is invented"


def test_a_cluster_that_is_away_when_the_watcher_starts(own: DevCluster, watch: Watch) -> None:
    own.pause()
    scene = watch(own)
    scene.watcher.wait_for_output("cluster not reached")
    wait_until(lambda: scene.sync.watch_restarts >= 2, 20, "it was tried again")
    own.resume()
    scene.assert_followed(within_s=40)
    assert scene.watcher.output.count("cluster not reached") == 1
    assert scene.sync.troubles == 1


def test_two_namespaces_keep_apart(own: DevCluster, watch: Watch) -> None:
    here = watch(own, namespaces=f"{NAMESPACE},{OTHER}")
    there = Scene(own, here.watcher, OTHER)
    here.assert_followed(within_s=25)
    there.assert_followed()
    name = here.job()
    own.create_job(name, OTHER, sim={"run-seconds": 0.2, "exit-code": 1})
    with there.fault("answer", verb="list", code=500), there.fault("error", verb="watch", code=410):
        wait_until(there.warnings, 10, "the other namespace is in trouble")
        here.wait_for(name, "succeeded")
        here.assert_followed()
    there.wait_for(name, "failed")
    assert here.warnings() == []
    there.assert_told_once()
    assert Build.objects.filter(name=name).count() == 2


def test_a_pause_of_the_whole_server(own: DevCluster, watch: Watch) -> None:
    scene = watch(own)
    scene.assert_followed(within_s=25)
    scene.wait_until_settled()
    name = scene.job({"run-seconds": 1})
    own.pause()
    wait_until(scene.warnings, 20, "the silence is noticed")
    own.resume()
    scene.wait_for(name, "succeeded")
    scene.assert_told_once()
    assert scene.watcher.is_running
    scene.watcher.send(signal.SIGTERM)
    assert scene.watcher.wait() == 0
