"""One resource of one namespace, listed and then watched for ever; keeps no objects and knows no other
resource.

Three generators, one inside the other: a connection; a list and the connections that continue it; lists
without end. https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Literal

import msgspec

from builds.kube.cluster import Cluster
from builds.kube.errors import (
    Call,
    ClusterError,
    ClusterUnreachable,
    ServerFault,
    Status,
    Throttled,
    VersionExpired,
    error_from_status,
)
from builds.kube.objects import Skeleton, WatchLine
from builds.kube.reading import version_of
from builds.kube.resources import Resource, S, decode
from builds.kube.snapshot import PageOf

WATCH_LASTS_S = (240, 300)
SETTLED_AFTER_S = 5.0
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0
LONGEST_RETRY_AFTER_S = 30.0
SLOW_PAGE_S = 10.0

_LINE = msgspec.json.Decoder(WatchLine)
_SKELETON = msgspec.json.Decoder(Skeleton)
_STATUS = msgspec.json.Decoder(Status)


Kind = Literal["ADDED", "MODIFIED", "DELETED"]

_KINDS: dict[str, Kind] = {"ADDED": "ADDED", "MODIFIED": "MODIFIED", "DELETED": "DELETED"}


@dataclass(frozen=True, slots=True)
class Altered(Generic[S]):
    """One change. DELETED is also said of an object that no longer matches the selector."""

    kind: Kind
    item: S


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Nothing is seen for now. Afterwards a list follows, unless it `resumes` where it stopped."""

    error: ClusterError
    retry_in_s: float
    resumes: bool


class Backoff:
    """How long to wait after the n-th failure in a row: doubling, with jitter, at most `LONGEST_DELAY_S`."""

    def __init__(self) -> None:
        self.failures = 0

    def next_delay_s(self, error: ClusterError) -> float:
        """The delay for one more failure; a server that asks for more gets it, up to 30 s."""
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(self.failures, 10))
        delay_s *= random.uniform(0.75, 1.25)  # noqa: S311 - spreads clients, hides nothing
        self.failures += 1
        asked_s = error.retry_after_s if isinstance(error, Throttled | ServerFault) else None
        return max(delay_s, min(asked_s or 0.0, LONGEST_RETRY_AFTER_S))

    def reset(self) -> None:
        self.failures = 0


class Watcher(Generic[S]):
    """Watches until `halt` is set; `cut` makes a thread that is blocked in it notice. `connected`: a watch is
    open.
    """

    def __init__(
        self, cluster: Cluster, resource: Resource[S], namespace: str, halt: threading.Event
    ) -> None:
        self.resource: Resource[S] = resource
        self.connected = False
        self._cluster = cluster
        self._namespace = namespace
        self._halt = halt
        self._backoff = Backoff()
        self._call = Call("watch", resource.name, namespace)
        self._cut_open_stream = _nothing

    def cut(self) -> None:
        """To be called after `halt` was set, from any thread."""
        self._cut_open_stream()

    def endless(self) -> Iterator[PageOf[S] | Altered[S] | Interrupted]:
        """Lists and watches for ever: whatever goes wrong is said, waited out and begun again with a list.

        A list that breaks off leaves pages without a last one.
        """
        while not self._halt.is_set():
            try:
                yield from self._from_one_list()
            except VersionExpired as error:
                # The normal end of a version, after each restart of the API server for one: list again at
                # once.
                first_time = self._backoff.failures == 0
                delay_s = self._backoff.next_delay_s(error)
                yield from self._pause(error, 0.0 if first_time else delay_s, resumes=False)
            except ClusterError as error:
                yield from self._pause(error, self._backoff.next_delay_s(error), resumes=False)

    def _from_one_list(self) -> Iterator[PageOf[S] | Altered[S] | Interrupted]:
        """A list, then connection after connection from where the last one ended.

        Ends when a connection brought nothing, not even the bookmark that comes before its end: its
        version may be one that the cluster has yet to reach. Raises whatever is not cured by going on at the
        same version.
        """
        version = yield from self._list()
        while not self._halt.is_set():
            begun = time.monotonic()
            lines = changes = 0
            trouble: ClusterError | None = None
            try:
                with closing(self._connection(version)) as connection:
                    for line in connection:
                        lines += 1
                        version, altered = self._read(line, version)
                        if altered is not None:
                            changes += 1
                            yield altered
            except ClusterUnreachable as error:
                trouble = error
            if changes or time.monotonic() - begun >= SETTLED_AFTER_S:
                self._backoff.reset()
            elif trouble is None:
                trouble = ClusterUnreachable(f"cannot {self._call}: the API server closes the stream at once")
            # Silence from the first: the version may be from the future. Less than that says nothing.
            is_mute = lines == 0 and time.monotonic() - begun >= SETTLED_AFTER_S
            if trouble is not None:
                delay_s = self._backoff.next_delay_s(trouble)
                yield from self._pause(trouble, delay_s, resumes=not is_mute)
            if is_mute or (trouble is None and lines == 0):
                return

    def _list(self) -> Generator[PageOf[S] | Interrupted, None, int]:
        """The pages; returns their version. A server that takes its time is no failure, but worth a word."""
        version = 0
        asked = time.monotonic()
        for page in self._cluster.pages_of(self.resource, self._namespace):
            took_s = time.monotonic() - asked
            if took_s > SLOW_PAGE_S:
                slow = ClusterUnreachable(
                    f"a list of {self.resource.name} took the API server {took_s:.0f} s"
                )
                yield Interrupted(slow, 0.0, resumes=True)
            version = page.version
            yield page
            asked = time.monotonic()
        return version

    def _connection(self, since: int) -> Generator[WatchLine, None, None]:
        """The lines of one connection, until the server ends it."""
        lasts_s = random.randint(*WATCH_LASTS_S)  # noqa: S311 - spreads clients, hides nothing
        stream = self._cluster.open_watch(self.resource, self._namespace, since, lasts_s=lasts_s)
        self._cut_open_stream = stream.cut
        try:
            # `cut` may have come before the stream was there to be cut.
            if not self._halt.is_set():
                self.connected = True
                for line in stream.lines():
                    yield decode(self._call, _LINE, line)
        finally:
            self._cut_open_stream = _nothing
            stream.close()

    def _read(self, line: WatchLine, version: int) -> tuple[int, Altered[S] | None]:
        """The version to go on from, and the change if the line is one; raises what an ERROR line says."""
        kind = _KINDS.get(line.type)
        if kind is not None:
            item = self.resource.snapshot_of(self._call, line.object)
            return item.version, Altered(kind, item)
        if line.type == "BOOKMARK":
            return version_of(decode(self._call, _SKELETON, line.object).metadata), None
        if line.type == "ERROR":
            raise error_from_status(self._call, decode(self._call, _STATUS, line.object))
        return version, None

    def _pause(self, error: ClusterError, delay_s: float, *, resumes: bool) -> Iterator[Interrupted]:
        if self._halt.is_set():
            return
        self.connected = False
        yield Interrupted(error, delay_s, resumes)
        self._halt.wait(delay_s)


def _nothing() -> None:
    """There is no stream to cut."""
