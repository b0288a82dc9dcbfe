"""What the tests of faults share: one cluster, one watcher process, and a namespace for each test."""

from collections.abc import Iterator
from itertools import count

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.cluster import DevCluster
from tests.faults.scene import Scene, portal_variables
from tests.processes import Process

NAMESPACES = [f"faults-{number}" for number in range(18)]
SLOW = "faults-slow"
SLOW_LIST_S = 30

# Rows outlast a test: at its end only the tables of the apps that are named here are emptied.
KEPT_ROWS = pytest.mark.django_db(transaction=True, available_apps=[])


@pytest.fixture(scope="module", autouse=True)
def rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """One database for all tests of a module: the watcher goes on from one test to the next."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", verbosity=0, interactive=False)
        connections.close_all()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """A cluster whose watches speak each second, so that silence is soon noticed."""
    cluster = DevCluster.start(tmp_path_factory.mktemp("cluster"), 0, False, "--bookmark-every", "1")
    for name in (*NAMESPACES, SLOW):
        cluster.create_namespace(name)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def variables(rows: None, cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For a process of the portal."""
    return portal_variables(cluster.kubeconfig, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def watcher(cluster: DevCluster, variables: dict[str, str]) -> Iterator[Process]:
    """The one watcher; its first list of one namespace is slow."""
    namespaces = ",".join((*NAMESPACES, SLOW))
    with (
        cluster.fault("delay", verb="list", namespace=SLOW, resource="jobs", delay_s=SLOW_LIST_S, times=1),
        Process.manage("watch_builds", env={**variables, "NAMESPACES": namespaces}) as watcher,
    ):
        watcher.wait_for_output('"leading"')
        yield watcher
        assert watcher.is_running, "no fault ends it"


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def scene(cluster: DevCluster, watcher: Process, numbers: Iterator[int]) -> Scene:
    """A namespace that no other test uses, with its watches open for long enough to count as settled."""
    scene = Scene(cluster, watcher, NAMESPACES[next(numbers)])
    scene.wait_until_settled()
    return scene
