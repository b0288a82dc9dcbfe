"""`kill -9` of each process in turn: all is back within 30 s, and no build is wrong afterwards."""

import time
from collections.abc import Iterator

import pytest

from buildportal.lineup import PORTAL, WORKER_SLOTS
from builds.kube import Cluster, ClusterConfig, JobSnapshot
from tests.cluster import NAMESPACE
from tests.portal import Portal
from tests.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.database]

BACK_WITHIN_S = 30.0
CHILDREN = ["valkey", "cluster", *(member.name for member in PORTAL)]


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """With the demo: builds come, run and end while the processes die."""
    with Portal.start(tmp_path_factory.mktemp("deaths")) as portal:
        yield portal


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_process_is_back(portal: Portal, name: str) -> None:
    before = portal.pid_of(name)
    killed_at_s = time.monotonic()
    portal.kill(name)
    wait_until(lambda: portal.pids().get(name, before) != before, BACK_WITHIN_S, f"another {name}")
    left_s = BACK_WITHIN_S - (time.monotonic() - killed_at_s)
    wait_until(portal.is_ready, left_s, "ready again")
    wait_until(lambda: all_slots_are_known(portal), left_s, "a pool with all its slots")


def all_slots_are_known(portal: Portal) -> bool:
    stats = portal.get("/async-jobs/stats")
    return stats["worker_count"] == WORKER_SLOTS and stats["is_shutdown"] is False


def test_work_goes_on_and_no_build_is_wrong(portal: Portal) -> None:
    """Runs last: every build that the cluster still knows has the state that its Job has."""
    newest = portal.get("/builds?limit=1")["builds"][0]["uid"]
    wait_until(lambda: portal.get("/builds?limit=1")["builds"][0]["uid"] != newest, 20, "a new build")
    assert wrong_builds(portal) == []


def wrong_builds(portal: Portal) -> list[str]:
    """Builds whose state is not their Job's, looked at for a while: the portal may be a moment behind."""
    assert portal.kubeconfig
    gateway = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=portal.kubeconfig))
    wrong: list[str] = []

    def nothing_wrong() -> bool:
        jobs = [job for job in gateway.snapshots(NAMESPACE).jobs if not job.deleting_at]
        assert len(jobs) > 3
        seen = {job.uid: portal.request("GET", f"/builds/{job.uid}") for job in jobs}
        wrong[:] = [
            f"{job.name}: {answer.body} instead of {allowed(job)}"
            for job in jobs
            for answer in [seen[job.uid]]
            if answer.status != 200 or answer.body["build"]["status"] not in allowed(job)
        ]
        return not wrong

    try:
        wait_until(nothing_wrong, 10, "every build in the state of its Job", every_s=1)
    except AssertionError:
        return wrong
    finally:
        gateway.close()
    return []


def allowed(job: JobSnapshot) -> set[str]:
    """The states that the Job's build may be in."""
    if job.condition("SuccessCriteriaMet") or job.condition("Complete"):
        return {"succeeded"}
    if job.condition("FailureTarget") or job.condition("Failed"):
        return {"failed"}
    return {"pending", "running"}
