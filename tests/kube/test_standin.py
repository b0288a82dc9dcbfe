"""The gateway against the stand-in cluster: a real process, TLS, its own kubeconfig."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from builds.kube import (
    Cluster,
    ClusterConfig,
    ClusterUnreachable,
    Conflict,
    Forbidden,
    JobChanged,
    JobGone,
    JobSnapshot,
    Listed,
    LogUnavailable,
    NotFound,
    PodGone,
    Trouble,
)
from tests.cluster import NAMESPACE, DevCluster
from tests.kube.conftest import Reader

Reading = Callable[..., Reader]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """One cluster for this module; each test uses names of its own."""
    running = DevCluster.start(tmp_path_factory.mktemp("standin"))
    yield running
    running.stop()


@pytest.fixture
def cluster(standin: DevCluster) -> Iterator[Cluster]:
    connected = Cluster.connect(ClusterConfig("kubeconfig", standin.kubeconfig, page_size=2))
    yield connected
    connected.close()


def seen(cluster: Cluster, name: str, holds: Callable[[JobSnapshot], object]) -> JobSnapshot:
    """The Job once it is so; fails after 15 s."""
    ends = time.monotonic() + 15
    job = None
    while time.monotonic() < ends:
        job = cluster.get(NAMESPACE, name)
        if job is not None and holds(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"not so within 15 s: {job}")


def is_running(job: JobSnapshot) -> bool:
    return any(one.state == "running" for pod in job.pods for one in pod.containers)


def test_a_build_from_its_creation_to_its_deletion(standin: DevCluster, cluster: Cluster) -> None:
    standin.create_job("gw-whole", sim={"run-seconds": 1, "log-lines": 5}, image_uri="registry.local/x:1")
    job = seen(cluster, "gw-whole", lambda job: job.condition("Complete"))
    assert (job.namespace, job.succeeded, job.active) == (NAMESPACE, 1, 0)
    assert job.annotations["lambda.knative.io/image-uri"] == "registry.local/x:1"
    (pod,) = job.pods
    log = cluster.read_log(NAMESPACE, pod.name, "kaniko", tail_lines=3)
    assert len(log.splitlines()) == 3
    assert (
        cluster.read_log(NAMESPACE, pod.name, "kaniko", limit_bytes=20)
        == cluster.read_log(NAMESPACE, pod.name, "kaniko")[:20]
    )
    with pytest.raises(Conflict):
        cluster.delete_job(NAMESPACE, job.name, uid="another", version=job.version)
    with pytest.raises(Conflict):
        cluster.delete_job(NAMESPACE, job.name, uid=job.uid, version=job.version - 1)
    cluster.delete_job(NAMESPACE, job.name, uid=job.uid, version=job.version)
    assert cluster.get(NAMESPACE, job.name) is None
    with pytest.raises(NotFound):
        cluster.delete_job(NAMESPACE, job.name, uid=job.uid, version=job.version)


def test_a_list_of_several_pages(standin: DevCluster, cluster: Cluster) -> None:
    names = {f"gw-page-{number}" for number in range(5)}
    for name in names:
        standin.create_job(name, suspend=True)
    standin.create_job("gw-page-other", suspend=True, labels={"app": "something-else"})
    listing = cluster.snapshots(NAMESPACE)
    found = {one.name for one in listing.jobs if one.name.startswith("gw-page")}
    assert found == names
    assert all(one.suspended and one.version <= listing.version for one in listing.jobs if one.name in names)
    assert cluster.snapshots("no-such-namespace").jobs == ()


def test_a_log_before_the_container_has_started(standin: DevCluster, cluster: Cluster) -> None:
    standin.create_job("gw-pull", sim={"image-pull-error": "manifest unknown"})
    job = seen(cluster, "gw-pull", lambda job: any(one.reason for pod in job.pods for one in pod.containers))
    with pytest.raises(LogUnavailable):
        cluster.read_log(NAMESPACE, job.pods[0].name, "kaniko")


def test_the_limited_user_is_told_what_is_forbidden(standin: DevCluster) -> None:
    limited = Cluster.connect(
        ClusterConfig("kubeconfig", standin.kubeconfig, context=context_of("limited", standin))
    )
    with pytest.raises(Forbidden) as caught:
        limited.list_jobs("kube-system")
    assert (caught.value.verb, caught.value.namespace) == ("list", "kube-system")
    limited.close()


def context_of(user: str, standin: DevCluster) -> str:
    """The name of the kubeconfig's context with that user."""
    contexts = yaml.safe_load(standin.kubeconfig.read_text())["contexts"]
    return str(next(one["name"] for one in contexts if one["context"]["user"] == user))


def test_following_a_build_that_is_deleted_while_it_runs(
    standin: DevCluster, cluster: Cluster, reader: Reading
) -> None:
    reading = reader(cluster, NAMESPACE)
    reading.until(lambda: reading.of(Listed))
    standin.create_job("gw-follow", sim={"run-seconds": 30, "term-seconds": 0.5})
    reading.until(lambda: any(is_running(one.snapshot) for one in reading.of(JobChanged)))
    job = next(one.snapshot for one in reversed(reading.of(JobChanged)) if one.snapshot.name == "gw-follow")
    cluster.delete_job(NAMESPACE, job.name, uid=job.uid, version=None)
    reading.until(lambda: any(one.job_uid == job.uid for one in reading.of(PodGone)))
    assert [one.snapshot.uid for one in reading.of(JobGone)] == [job.uid]
    assert cluster.pods_of(NAMESPACE, job.uid) == ()
    assert reading.stop() < 2


def test_a_cluster_that_is_killed_and_comes_back(tmp_path: Path, reader: Reading) -> None:
    standin = DevCluster.start(tmp_path / "state")
    try:
        cluster = Cluster.connect(ClusterConfig("kubeconfig", standin.kubeconfig, connect_timeout_s=1))
        uid = cluster.identity()
        reading = reader(cluster, NAMESPACE)
        reading.until(reading.is_connected)
        standin.create_job("gw-before", suspend=True)
        reading.until(lambda: any(one.snapshot.name == "gw-before" for one in reading.of(JobChanged)))
        standin.kill()
        reading.until(lambda: not reading.is_connected())
        assert {type(one.error) for one in reading.of(Trouble)} <= {ClusterUnreachable}
        with pytest.raises(ClusterUnreachable):
            cluster.get(NAMESPACE, "gw-before")
        port = int(standin.url.rpartition(":")[2])
        standin = DevCluster.start(tmp_path / "state", port)
        standin.create_job("gw-after", suspend=True)
        reading.until(lambda: "gw-after" in told(reading))
        assert cluster.identity() == uid
        assert {"gw-before", "gw-after"} <= {one.name for one in cluster.snapshots(NAMESPACE).jobs}
        assert reading.of(JobGone) == []
        reading.stop()
    finally:
        standin.stop()


def told(reading: Reader) -> set[str]:
    """The names of all Jobs told, by a list or by a change."""
    in_lists = {job.name for one in reading.of(Listed) for job in one.jobs}
    return in_lists | {one.snapshot.name for one in reading.of(JobChanged)}
