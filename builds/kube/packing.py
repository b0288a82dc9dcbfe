"""Snapshots kept in little memory: a hundred bytes or two each instead of some thousand; no I/O.

A namespace may hold ten thousands of finished Jobs, and both a list and a watch have to keep what they saw.
"""

import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, overload

import msgspec

from builds.kube.snapshot import JobSnapshot, PodSnapshot

P = TypeVar("P", JobSnapshot, PodSnapshot)

_WINDOW_BITS = -12  # raw deflate: 4 KiB hold the dictionary and one snapshot, and cost little to set up
_LEVEL = 1


class Packing(Generic[P]):
    """Packs snapshots of one type. The first one becomes the dictionary for all: they are much alike."""

    def __init__(self, kind: type[P]) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[P] = msgspec.msgpack.Decoder(kind)
        self._lock = threading.Lock()
        self._dictionary = b""

    def pack(self, snapshot: P) -> bytes:
        """Equal snapshots give equal bytes, within this process. May be called by any thread."""
        plain = self._encoder.encode(snapshot)
        with self._lock:
            self._dictionary = self._dictionary or plain
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, zdict=self._dictionary)
        return deflater.compress(plain) + deflater.flush()

    def unpack(self, packed: bytes) -> P:
        """The snapshot again, equal to what was packed."""
        return self._decoder.decode(
            zlib.decompressobj(_WINDOW_BITS, zdict=self._dictionary).decompress(packed)
        )


_JOBS = Packing(JobSnapshot)
_PODS = Packing(PodSnapshot)


@dataclass(frozen=True, slots=True)
class PackedPod:
    """A pod, and what it is found by. `job_uid` is None for a pod that is no Job's."""

    uid: str
    job_uid: str | None
    version: int
    packed: bytes

    @classmethod
    def of(cls, pod: PodSnapshot) -> "PackedPod":
        return cls(pod.uid, pod.job_uid, pod.version, _PODS.pack(pod))

    def unpacked(self) -> PodSnapshot:
        return _PODS.unpack(self.packed)


@dataclass(frozen=True, slots=True)
class PackedJob:
    """A Job without its pods, and what it is found by."""

    uid: str
    version: int
    packed: bytes

    @classmethod
    def of(cls, job: JobSnapshot) -> "PackedJob":
        return cls(job.uid, job.version, _JOBS.pack(job))

    def joined(self, pods: Iterable[PackedPod], pods_version: int = 0) -> JobSnapshot:
        """The Job with these pods."""
        job = _JOBS.unpack(self.packed).with_pods(pod.unpacked() for pod in pods)
        return replace(job, pods_version=pods_version) if pods_version else job


class JoinedJobs(Sequence[JobSnapshot]):
    """Jobs with their pods, unpacked one at a time while being read; does not change any more."""

    def __init__(self, parts: Iterable[tuple[PackedJob, tuple[PackedPod, ...], int]]) -> None:
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, at: int) -> JobSnapshot: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[JobSnapshot]: ...

    def __getitem__(self, at: int | slice) -> JobSnapshot | Sequence[JobSnapshot]:
        if isinstance(at, slice):
            return JoinedJobs(self._parts[at])
        job, pods, pods_version = self._parts[at]
        return job.joined(pods, pods_version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as every container that is compared by content
