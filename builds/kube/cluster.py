"""The cluster as the other rooms see it: questions and one deletion, typed answers or a ClusterError, never a
guess.

Every call has a connect and a read timeout (`ClusterConfig`) and an end: a body may take three read timeouts.
A 401 is tried once more with credentials read anew; nothing else is retried. All methods raise ClusterError;
what is named in their docstrings comes on top of ClusterUnreachable, Unauthorized, Forbidden, Throttled,
ServerFault and Malformed, which every call can end in. A call that failed says nothing about what exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from builds.kube.credentials import session_from
from builds.kube.errors import Call, ClusterError, Malformed, NotFound, VersionExpired
from builds.kube.objects import Skeleton
from builds.kube.packing import JoinedJobs, PackedJob, PackedPod
from builds.kube.reading import CONTROLLER_UID_LABEL, Incomplete, version_of
from builds.kube.resources import EVENTS, JOBS, PODS, Resource, S, decode
from builds.kube.snapshot import EventSnapshot, JobSnapshot, Listing, ListOf, PageOf, PodSnapshot
from builds.kube.transport import Session, Stream, Transport

PAGE_LIMIT_BYTES = 512 * 1024 * 1024
OBJECT_LIMIT_BYTES = 8 * 1024 * 1024
LOG_LIMIT_BYTES = 16 * 1024 * 1024
LISTS_TRIED = 3

_SKELETON = msgspec.json.Decoder(Skeleton)


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How to reach the cluster. `kubeconfig` None means $KUBECONFIG or ~/.kube/config; `selector` is the
    Jobs'.
    """

    mode: Literal["kubeconfig", "incluster"]
    kubeconfig: Path | None = None
    context: str | None = None
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 10.0
    list_timeout_s: float = 45.0
    """For a page of a whole namespace: a server under load takes its time, and gives up after 60 s."""
    watch_silence_s: float = 75.0
    """A server sends a bookmark about every 60 s: longer silence means that nobody is there."""
    selector: str = "app=knative-lambda-builder"
    page_size: int = 500


class Cluster:
    """One API server. Safe to share between threads; a forked child connects anew."""

    def __init__(self, transport: Transport, config: ClusterConfig) -> None:
        self._transport = transport
        self._config = config

    @classmethod
    def connect(cls, config: ClusterConfig) -> "Cluster":
        """Reads the credentials; calls nobody, unless an exec plugin does. ClusterError: a sentence on what
        is wrong.
        """
        # Here alone: importing the library costs 0.3 s and 36 MB, which the web process does not pay.
        from kubernetes import client
        from kubernetes import config as kubernetes_config

        def configuration() -> Any:
            found = client.Configuration()
            try:
                if config.mode == "incluster":
                    kubernetes_config.load_incluster_config(found)
                else:
                    path = None if config.kubeconfig is None else str(config.kubeconfig)
                    kubernetes_config.load_kube_config(path, config.context, found, persist_config=False)
            except (
                Exception
            ) as error:  # the loader lets through whatever YAML, base64 and the file system raise
                raise ClusterError(f"{_source(config)} cannot be used: {_words(error)}") from error
            return found

        def load() -> Session:
            found = configuration()
            found.connection_pool_maxsize = 16
            try:
                return session_from(found, client.rest.RESTClientObject(found).pool_manager)
            except (OSError, ValueError) as error:
                raise ClusterError(f"{_source(config)} has unusable certificates: {error}") from error

        transport = Transport(
            load, connect_timeout_s=config.connect_timeout_s, read_timeout_s=config.read_timeout_s
        )
        return cls(transport, config)

    @property
    def server_url(self) -> str:
        """For messages."""
        return self._transport.host

    def close(self) -> None:
        """Lets go of the idle connections."""
        self._transport.close()

    def identity(self) -> str:
        """The uid of namespace kube-system, which tells clusters apart; NotFound if it has none."""
        call = Call("get", "namespaces", name="kube-system")
        raw = self._read(call, "GET", "/api/v1/namespaces/kube-system")
        uid = decode(call, _SKELETON, raw).metadata.uid
        if not uid:
            raise Malformed(f"cannot {call}: the answer has no uid")
        return uid

    def snapshots(self, namespace: str) -> Listing:
        """All Jobs that match the selector, with their pods: complete or an error; a namespace without Jobs,
        or that does not exist, is an empty listing. Costs a call for each page of Jobs and pods.

        The pods are listed after the Jobs: they may be newer, never older. VersionExpired: the pages expired
        three times while being read.
        """
        version, jobs = 0, list[PackedJob]()
        for page in self.pages_of(JOBS, namespace):
            version = page.version
            if page.is_first:
                jobs.clear()
            jobs.extend(map(PackedJob.of, page.items))
        pods: dict[str | None, tuple[PackedPod, ...]] = {}
        for pods_page in self.pages_of(PODS, namespace):
            if pods_page.is_first:
                pods.clear()
            for pod in map(PackedPod.of, pods_page.items):
                pods[pod.job_uid] = (*pods.get(pod.job_uid, ()), pod)
        return Listing(version, JoinedJobs((job, pods.get(job.uid, ()), 0) for job in jobs))

    def list_jobs(self, namespace: str) -> ListOf[JobSnapshot]:
        """The Jobs that match the selector, without pods; complete or an error, like `snapshots`."""
        return self.list_of(JOBS, namespace)

    def list_pods(self, namespace: str) -> ListOf[PodSnapshot]:
        """The pods of all Jobs, also of other people's and of those that are gone."""
        return self.list_of(PODS, namespace)

    def list_events(self, namespace: str) -> ListOf[EventSnapshot]:
        """The Events of the namespace; the cluster forgets them after an hour."""
        return self.list_of(EVENTS, namespace)

    def list_of(self, resource: Resource[S], namespace: str) -> ListOf[S]:
        """What `list_jobs`, `list_pods` and `list_events` are, for whoever does not care which."""
        return self._list(resource, namespace, self._selector(resource))

    def pages_of(self, resource: Resource[S], namespace: str) -> Iterator[PageOf[S]]:
        """The same page by page, as they are read: nothing may be concluded before the last one."""
        patience_s = max(self._config.list_timeout_s, self._config.read_timeout_s)
        return self._all_pages(resource, namespace, self._selector(resource), patience_s)

    def get(self, namespace: str, name: str) -> JobSnapshot | None:
        """The Job of that name with its pods, in two calls; None if and only if the server says that there is
        none.

        It may be another Job than the one that once had the name: compare the uid.
        """
        call = Call("get", "jobs", namespace, name)
        try:
            raw = self._read(call, "GET", JOBS.path(namespace, name))
        except NotFound:
            return None
        job = JOBS.snapshot_of(call, raw)
        return job.with_pods(self.pods_of(namespace, job.uid))

    def pods_of(self, namespace: str, job_uid: str) -> tuple[PodSnapshot, ...]:
        """The pods of the Job with that uid, also after the Job is gone; empty if there are none."""
        pods = self._list(PODS, namespace, f"{CONTROLLER_UID_LABEL}={job_uid}").items
        return tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))

    def delete_job(
        self,
        namespace: str,
        name: str,
        *,
        uid: str,
        version: int | None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Deletes that very Job; `version` is the Job's own (`JobSnapshot.version`), None to delete whatever
        its state.

        Returning means: with Background the Job is gone, and its pods end in their own time; with Foreground
        and Orphan it has only been marked. NotFound: no Job of that name. Conflict: it has changed since, or
        another Job has the name now.
        """
        preconditions = {"uid": uid} if version is None else {"uid": uid, "resourceVersion": str(version)}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            # Never left out: a Job's default is Orphan, which leaves the build running.
            "propagationPolicy": propagation,
            "preconditions": preconditions,
        }
        self._read(
            Call("delete", "jobs", namespace, name), "DELETE", JOBS.path(namespace, name), body=options
        )

    def read_log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
        since_time: datetime | None = None,
    ) -> bytes:
        """The container's log as it stands, raw: invalid UTF-8 included, the last line perhaps without its
        end.

        With `tail_lines` the last `limit_bytes` of these lines, from the beginning of a line on; without it
        the first `limit_bytes`, which may end within a character. At most 16 MiB either way. `since_time`
        counts in whole seconds. Empty also for a pod that no node has taken yet. NotFound: the pod is gone.
        LogUnavailable: the container has not started. Rejected: no such container, or `previous` without a
        previous run.
        """
        limit = min(limit_bytes or LOG_LIMIT_BYTES, LOG_LIMIT_BYTES)
        query = {"container": container}
        if tail_lines is None:
            query["limitBytes"] = str(limit)
        else:
            # The server's limitBytes would keep the beginning of the tail and drop its end.
            query["tailLines"] = str(tail_lines)
        if previous:
            query["previous"] = "true"
        if timestamps:
            query["timestamps"] = "true"
        if since_time is not None:
            query["sinceTime"] = since_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        call = Call("get", "pods/log", namespace, pod)
        response = self._transport.open(call, "GET", PODS.path(namespace, pod) + "/log", query)
        tail = bytearray()
        was_cut = False
        for part in self._transport.chunks(call, response):
            tail += part
            if len(tail) > 2 * limit:
                was_cut = True
                del tail[:-limit]
        if len(tail) > limit:
            was_cut = True
            del tail[:-limit]
        return bytes(_from_line_start(tail) if was_cut else tail)

    def open_watch(self, resource: Resource[S], namespace: str, since: int, *, lasts_s: int) -> Stream:
        """The changes after version `since`, as lines of JSON; the server ends the stream after `lasts_s`.

        A silence of `watch_silence_s` is a ClusterUnreachable. A version that is too old shows as an ERROR
        line; one from the future (the cluster was restored from a backup) shows as nothing at all, not even a
        bookmark.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(since),
            "timeoutSeconds": str(lasts_s),
        }
        selector = self._selector(resource)
        if selector:
            query["labelSelector"] = selector
        call = Call("watch", resource.name, namespace)
        return self._transport.stream(
            call, resource.path(namespace), query, silence_s=self._config.watch_silence_s
        )

    def _selector(self, resource: Resource[Any]) -> str:
        return {JOBS.name: self._config.selector, PODS.name: CONTROLLER_UID_LABEL}.get(resource.name, "")

    def _list(self, resource: Resource[S], namespace: str, selector: str) -> ListOf[S]:
        version, items = 0, list[S]()
        for page in self._all_pages(resource, namespace, selector, self._config.read_timeout_s):
            version = page.version
            if page.is_first:
                items.clear()
            items.extend(page.items)
        return ListOf(version, tuple(items))

    def _all_pages(
        self, resource: Resource[S], namespace: str, selector: str, timeout_s: float
    ) -> Iterator[PageOf[S]]:
        """All pages; from the first again if the token of the next one has expired."""
        for _ in range(LISTS_TRIED - 1):
            try:
                yield from self._pages(resource, namespace, selector, timeout_s)
            except VersionExpired:
                continue
            return
        yield from self._pages(resource, namespace, selector, timeout_s)

    def _pages(
        self, resource: Resource[S], namespace: str, selector: str, timeout_s: float
    ) -> Iterator[PageOf[S]]:
        call = Call("list", resource.name, namespace)
        query = {"limit": str(self._config.page_size)}
        if selector:
            query["labelSelector"] = selector
        version: int | None = None
        asked_at = datetime.now(UTC)
        while True:
            is_first = version is None
            raw = self._transport.read(
                call,
                "GET",
                resource.path(namespace),
                query,
                limit_bytes=PAGE_LIMIT_BYTES,
                read_timeout_s=timeout_s,
            )
            page = decode(call, resource.page, raw)
            try:
                # All pages are of the first one's version.
                version = version_of(page.metadata) if version is None else version
                items = tuple(resource.snapshot(one) for one in page.items or ())
            except Incomplete as error:
                raise Malformed(f"cannot {call}: {error}") from error
            token = page.metadata.continue_
            yield PageOf(version, items, is_first, is_last=not token, asked_at=asked_at)
            if not token:
                return
            if query.get("continue") == token:
                raise Malformed(f"cannot {call}: a page names itself as the next one")
            query["continue"] = token

    def _read(
        self,
        call: Call,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        body: dict[str, Any] | None = None,
    ) -> bytes:
        return self._transport.read(
            call, method, path, query or {}, body=body, limit_bytes=OBJECT_LIMIT_BYTES
        )


def _from_line_start(text: bytearray) -> bytearray:
    """Without the rest of a cut line: half a secret is not recognised. A single endless line is kept."""
    end = text.find(b"\n")
    return text[end + 1 :] if 0 <= end < len(text) - 1 else text


def _source(config: ClusterConfig) -> str:
    if config.mode == "incluster":
        return "the service account of this pod"
    return f"the kubeconfig {config.kubeconfig}" if config.kubeconfig else "the kubeconfig"


def _words(error: Exception) -> str:
    """The loader's own sentences are kept; what it trips over in a file of another kind says nothing to
    anyone.
    """
    if isinstance(error, OSError) or type(error).__name__ == "ConfigException":
        return " ".join(str(error).split())[:300]
    return f"it is not in the form of one ({type(error).__name__})"
