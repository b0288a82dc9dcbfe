"""What every test may ask for: first the servers and processes, then people and builds; holds no test."""

import atexit
import os
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from builds.kube import Cluster, ClusterConfig
from tests import surroundings
from tests.cluster import DevCluster
from tests.valkey import Valkey

# Django reads the environment when it is first imported for real, so this stands before everything else.
SURROUNDINGS = surroundings.prepare()
atexit.register(SURROUNDINGS.remove)
django.setup()

from django.db import connections  # noqa: E402 - after setup

# --- Servers and processes ----------------------------------------------------------------------------------


def pytest_unconfigure(config: pytest.Config) -> None:
    SURROUNDINGS.remove()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what touches the database: only that is worth running again on another one.

    A test of the whole portal says so itself.
    """
    for item in items:
        asks_for_it = {"db", "transactional_db", "live_server"} & set(getattr(item, "fixturenames", ()))
        if asks_for_it or item.get_closest_marker("django_db"):
            item.add_marker("database")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """With this variable inherited, pytest-django would have a worker's Django read the settings before the
    worker has surroundings of its own, and all would share the Valkey of their controller."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.fixture(scope="session")
def valkey() -> Valkey:
    """The Valkey server of this test process; a test that stops it starts it again."""
    return SURROUNDINGS.valkey


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """SQLite in a file, so that worker processes see the same rows; a name per pytest-xdist worker."""
    database = connections.settings["default"]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    if "sqlite" in database["ENGINE"]:
        database["TEST"]["NAME"] = str(SURROUNDINGS.folder / f"test_{worker}.sqlite3")
    else:
        database["TEST"]["NAME"] = f"test_buildportal_{worker}"


@pytest.fixture
def process_environment(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    """The variables for a process of the portal (worker, watcher, …) that works on this test's rows.

    Rows must be committed for another process to see them, hence `transactional_db`. Add KUBECONFIG yourself.
    """
    return {
        **os.environ,
        "DATABASE_URL": surroundings.database_url_of(connections.settings["default"]),
        "STATE_DIR": str(tmp_path),
    }


@pytest.fixture(scope="session")
def devcluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """A stand-in cluster for all tests of this process: take names of your own, and leave it running."""
    cluster = DevCluster.start(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.fixture
def gateway(devcluster: DevCluster) -> Iterator[Cluster]:
    """The portal's gateway to that cluster."""
    gateway = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=devcluster.kubeconfig))
    yield gateway
    gateway.close()


# --- People and builds --------------------------------------------------------------------------------------
