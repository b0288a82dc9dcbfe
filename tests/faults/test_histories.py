"""What Jobs go through, as the portal records it: most begin together, and each test awaits its own."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from builds.models import Build
from tests.cluster import DevCluster, build_job, jobs_path, pods_path
from tests.faults.conftest import KEPT_ROWS, NAMESPACES
from tests.faults.scene import LONG, QUICK, Scene
from tests.processes import Process, wait_until

pytestmark = KEPT_ROWS

# The retries of a real controller come after 10 s and 20 s.
RETRIED_WITHIN_S = 60
FAIL_ON_42 = {
    "rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "kaniko", "operator": "In", "values": [42]}}
    ]
}
SIDECAR = {"name": "proxy", "image": "registry.local/proxy:1", "args": ["--listen=:8080"]}


class History(NamedTuple):
    """What a build is made to go through, and how it is to be recorded."""

    sim: Mapping[str, Any]
    status: str
    reason: str | None = None
    exit_code: int | None = None
    job: Mapping[str, Any] = {}
    pod: Mapping[str, Any] = {}
    beside: tuple[Mapping[str, Any], ...] = ()


ON_FAILURE = {"restartPolicy": "OnFailure"}
HISTORIES = {
    "restarted": History(
        {"exit-code": "1,0", "crashloop-seconds": 0.3}, "succeeded", job={"backoffLimit": 2}, pod=ON_FAILURE
    ),
    "restarted-in-vain": History({"exit-code": 9}, "failed", "error", 9, pod=ON_FAILURE),
    "given-up-by-policy": History(
        {"exit-code": 42}, "failed", "error", 42, job={"backoffLimit": 3, "podFailurePolicy": FAIL_ON_42}
    ),
    "unschedulable": History({"unschedulable": 1}, "pending", "unscheduled"),
    "image-pull": History({"image-pull-error": 1}, "pending", "image_pull"),
    "out-of-memory": History({"exit-code": 137, "reason": "OOMKilled"}, "failed", "oom_killed", 137),
    "evicted": History({"run-seconds": 60, "evict-after-seconds": 0.5}, "failed", "evicted"),
    "node-lost": History({"run-seconds": 1, "lost-after-seconds": 0.5}, "running"),
    "too-long": History({"run-seconds": 60}, "failed", "timeout", job={"activeDeadlineSeconds": 3}),
    "with-a-sidecar": History({"proxy.exit-code": 0}, "succeeded", beside=(SIDECAR,)),
    "failed-beside-a-sidecar": History({"kaniko.exit-code": 5}, "failed", "error", 5, beside=(SIDECAR,)),
    "removed-by-ttl": History({}, "succeeded", job={"ttlSecondsAfterFinished": 1}),
    # The slowest last.
    "retried-in-vain": History({"exit-code": 7}, "failed", "error", 7, job={"backoffLimit": 1}),
    "retried": History({"exit-code": "1,1,0"}, "succeeded", job={"backoffLimit": 2}),
}


@pytest.fixture(scope="module")
def begun(cluster: DevCluster, watcher: Process) -> Iterator[Scene]:
    """All histories at once, in one namespace."""
    scene = Scene(cluster, watcher, NAMESPACES[-1])
    scene.wait_until_settled()
    for name, history in HISTORIES.items():
        job = build_job(name, sim={**QUICK, **history.sim})
        job["spec"] |= history.job
        job["spec"]["template"]["spec"] |= history.pod
        job["spec"]["template"]["spec"]["containers"] += history.beside
        cluster.ok("POST", jobs_path(scene.namespace), body=job)
    yield scene
    assert scene.warnings() == [], "nothing of this is trouble"


@pytest.mark.parametrize("name", HISTORIES)
def test_history(begun: Scene, name: str) -> None:
    wanted = HISTORIES[name]
    build = begun.wait_for(name, wanted.status, wanted.reason, within_s=RETRIED_WITHIN_S)
    assert (build.status_reason, build.error_exit_code) == (wanted.reason, wanted.exit_code)
    if wanted.exit_code is not None:
        assert build.error_container == "kaniko"


def test_what_removed_itself_is_gone_and_still_succeeded(begun: Scene) -> None:
    wait_until(lambda: begun.builds("removed-by-ttl")[0].gone_at, 20, "its Job is gone")
    begun.wait_for("removed-by-ttl", "succeeded")


def test_a_deletion_by_hand(scene: Scene) -> None:
    name = scene.job(LONG)
    scene.wait_for(name, "running")
    scene.cluster.delete_job(name, scene.namespace)
    assert scene.wait_for(name, "failed", "deleted").gone_at is not None


def test_a_name_that_is_used_again_at_once(scene: Scene) -> None:
    name = scene.job(LONG)
    scene.wait_for(name, "running")
    scene.cluster.delete_job(name, scene.namespace)
    scene.cluster.create_job(name, scene.namespace, sim=QUICK)
    wait_until(
        lambda: [one.status for one in scene.builds(name)] == ["failed", "succeeded"], 20, "two builds"
    )
    first, second = scene.builds(name)
    assert first.status_reason == "deleted"
    assert first.uid != second.uid


def test_a_suspension_and_other_labels_by_hand(scene: Scene) -> None:
    name = scene.job(LONG)
    scene.wait_for(name, "running")
    path = f"{jobs_path(scene.namespace)}/{name}"

    def patch(body: dict[str, Any]) -> None:
        scene.cluster.ok("PATCH", path, body=body, content_type="application/merge-patch+json")

    patch({"spec": {"suspend": True}})
    scene.wait_for(name, "running", "suspended")
    patch({"metadata": {"labels": {"build.notifi.network/third-party-id": "another"}}})
    wait_until(
        lambda: scene.builds(name)[0].events.filter(reason="LabelsChanged").exists(), 10, "it is noted"
    )
    patch(
        {"metadata": {"labels": {"app": "no longer a build".replace(" ", "-")}}, "spec": {"suspend": False}}
    )
    build = scene.builds(name)[0]
    assert build.third_party_id == "acme", "whose build it is stays as first seen"
    assert (build.gone_at, build.is_finished) == (None, False), "it is still there, under other labels"


def test_pods_and_jobs_that_are_no_builds(scene: Scene) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "alone", "labels": {"app": "knative-lambda-builder"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "kaniko", "image": "registry.local/x:1"}]},
    }
    scene.cluster.ok("POST", pods_path(scene.namespace), body=pod)
    scene.job(labels={"app": "something-else"})
    scene.assert_followed()
    assert Build.objects.filter(namespace=scene.namespace).count() == 1
    assert scene.warnings() == []
