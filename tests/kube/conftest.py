"""What the gateway's tests share: a scripted server, a gateway to it, a reader of changes; no database."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builds.kube import Change, Cluster, ClusterConfig, Heartbeat, follow
from tests.kube.server import ScriptedServer, Server

Connect = Callable[..., Cluster]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """`connect(server, read_timeout_s=…)`: a gateway to that server through a kubeconfig of its own."""
    opened: list[Cluster] = []

    def connected(to: Server, **config: Any) -> Cluster:
        cluster = Cluster.connect(ClusterConfig("kubeconfig", to.kubeconfig(tmp_path), **config))
        opened.append(cluster)
        return cluster

    yield connected
    for cluster in opened:
        cluster.close()


class Reader:
    """Follows a namespace in a thread of its own and keeps what it is told."""

    def __init__(self, cluster: Cluster, namespace: str = "builds") -> None:
        self.changes: list[Change] = []
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._cluster = cluster
        self._namespace = namespace
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for change in follow(self._cluster, self._namespace, stop=self._stop, heartbeat_s=0.05):
                self.changes.append(change)
        except BaseException as error:
            self.error = error
            raise

    def of(self, kind: type) -> list[Any]:
        """The changes of that kind so far."""
        return [one for one in list(self.changes) if isinstance(one, kind)]

    def is_connected(self) -> bool:
        """What the last heartbeat said."""
        beats = self.of(Heartbeat)
        return bool(beats) and beats[-1].connected

    def until(self, holds: Callable[[], object], within_s: float = 10.0) -> None:
        """Waits for it; fails with what was told instead."""
        ends = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > ends:
                told = [type(one).__name__ for one in self.changes]
                raise AssertionError(f"not seen within {within_s} s; told: {told[-40:]}, error: {self.error}")
            time.sleep(0.01)

    def settle(self) -> None:
        """Waits until three heartbeats in a row brought nothing between them."""
        self.until(lambda: _is_quiet(self.changes))

    def stop(self) -> float:
        """Stops following; how many seconds it took."""
        begun = time.monotonic()
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive(), "follow() did not return within 10 s of being stopped"
        return time.monotonic() - begun


@pytest.fixture
def reader() -> Iterator[Callable[..., Reader]]:
    """`reader(cluster)` follows namespace `builds`, or another, until the test ends."""
    readers: list[Reader] = []

    def reading(cluster: Cluster, namespace: str = "builds") -> Reader:
        readers.append(Reader(cluster, namespace))
        return readers[-1]

    yield reading
    for one in readers:
        one.stop()


def _is_quiet(changes: list[Change]) -> bool:
    last = changes[-3:]
    return len(last) == 3 and all(isinstance(one, Heartbeat) for one in last)
