"""Portals for the end-to-end tests: one on the demo, one on a cluster that the test itself fills."""

from collections.abc import Iterator

import pytest

from tests.cluster import DevCluster
from tests.portal import Portal
from tests.valkey import Valkey


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """What `make run` gives a newcomer, for tests that leave it as it is.

    Patient with the cluster, so that a busy machine cancels within the wait, as a quiet one does.
    """
    with Portal.start(tmp_path_factory.mktemp("demo"), CANCEL_WAIT_S="4") as portal:
        yield portal


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """A stand-in without the demo."""
    cluster = DevCluster.start(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.resume()
    cluster.stop()


@pytest.fixture(scope="module")
def broker() -> Iterator[Valkey]:
    """A Valkey that is not the portal's child, so that a test can take it away."""
    valkey = Valkey()
    valkey.start()
    yield valkey
    valkey.remove()


@pytest.fixture(scope="module")
def portal(cluster: DevCluster, broker: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that is given its cluster, which it enters by a client certificate, and its broker."""
    with Portal.start(
        tmp_path_factory.mktemp("portal"),
        CLUSTER="kubeconfig",
        KUBECONFIG=str(cluster.kubeconfig),
        KUBE_CONTEXT="certificate",
        REDIS_URL=broker.url,
    ) as portal:
        yield portal
