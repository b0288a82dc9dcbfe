"""One stand-in cluster for the tests of a module; a test that breaks it starts its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import DevCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    started = DevCluster.start(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[DevCluster]:
    """A cluster that the test may stop, kill and start again on `state_dir`."""
    started = DevCluster.start(tmp_path / "cluster")
    yield started
    started.stop()
