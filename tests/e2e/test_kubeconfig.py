"""`CLUSTER=kubeconfig` with nothing but a kubeconfig: here by token, by certificate in test_cancelling."""

from pathlib import Path

import pytest

from tests.cluster import DevCluster
from tests.portal import Portal

pytestmark = pytest.mark.e2e


def test_builds_are_seen_and_cancelled(cluster: DevCluster, tmp_path: Path) -> None:
    name = "build-by-token"
    cluster.create_job(name, sim={"run-seconds": 600})
    with Portal.start(
        tmp_path, CLUSTER="kubeconfig", KUBECONFIG=str(cluster.kubeconfig), KUBE_CONTEXT="token"
    ) as portal:
        assert portal.kubeconfig == cluster.kubeconfig
        portal.wait_for(name, "running")
        assert portal.request("POST", f"/builds/{name}/cancel").status in (200, 202)
        portal.wait_for(name, "cancelled")
    assert cluster.job_gone(name)
