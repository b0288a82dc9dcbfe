"""Starts the stand-in cluster as a process and speaks plain HTTP to it; imports nothing of the portal."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import yaml

START_TIMEOUT_S = 20.0
REQUEST_TIMEOUT_S = 10.0
NAMESPACE = "knative-lambda"
FAULTS = "/standin/faults"
DATABASE = "cluster.sqlite3"
IMAGE = "gcr.io/kaniko-project/executor:v1.23.2"

Obj = dict[str, Any]


class ClusterError(Exception):
    """An answer that a helper did not expect."""


class Answer:
    """One HTTP answer, read to its end."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.content = response.read()

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Fault:
    """One that is switched on. `token` is the one that is accepted, where one was revoked."""

    cluster: "DevCluster"
    id: int
    token: str

    @property
    def hits(self) -> int:
        """How many requests or streams it has met so far."""
        shown = {one["id"]: one for one in self.cluster.ok("GET", FAULTS)}
        return int(shown[self.id]["hits"])


class DevCluster:
    """One stand-in cluster. `kubeconfig` is there as soon as start() returns."""

    def __init__(
        self, process: "subprocess.Popen[str]", state_dir: Path, options: tuple[str, ...] = ()
    ) -> None:
        self._process = process
        self._options = options
        self.state_dir = state_dir
        self.kubeconfig = state_dir / "kubeconfig"
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        users = {entry["name"]: entry["user"] for entry in config["users"]}
        self.url = str(cluster["server"])
        self.token = self._issued_token = str(users["token"]["token"])
        self.limited_token = str(users["limited"]["token"])
        self._tls = ssl.create_default_context(
            cadata=b64decode(cluster["certificate-authority-data"]).decode()
        )

    @classmethod
    def start(cls, state_dir: Path, port: int = 0, demo: bool = False, *extra: str) -> Self:
        """Returns when the cluster answers; raises ClusterError with its output when it does not."""
        state_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "devcluster", "--state-dir", str(state_dir), "--port", str(port)]
        command += (["--demo"] if demo else []) + list(extra)
        root = Path(__file__).resolve().parent.parent
        with (state_dir / "devcluster.log").open("a") as log:
            begun = log.tell()
            process = subprocess.Popen(command, cwd=root, stdout=log, stderr=log, text=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            output = (state_dir / "devcluster.log").read_text()[begun:]
            if "ready at" in output:
                return cls(process, state_dir, extra)
            if process.poll() is not None:
                break
            time.sleep(0.02)
        process.kill()
        process.wait()
        raise ClusterError(f"The stand-in cluster did not start: {output.strip() or 'no output'}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, as `make run` ends it. Does nothing to a cluster that has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: streams break off, nothing is tidied."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            # A paused process does not hear SIGTERM.
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def restart(self) -> Self:
        """A new process on the same state and, if it is free, the same port."""
        self.stop()
        return type(self).start(self.state_dir)

    def pause(self) -> None:
        """Connections hang: the worst way for a server to be away."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    # Trouble.

    @contextlib.contextmanager
    def fault(self, kind: str, **options: object) -> Iterator["Fault"]:
        """A fault of docs/devcluster.md, switched on until the end of the block."""
        switched = self.ok("POST", FAULTS, body={"kind": kind, **options}, token=self._issued_token)
        fault = Fault(self, switched["id"], switched.get("token", ""))
        try:
            yield fault
        finally:
            self.ok("DELETE", f"{FAULTS}/{fault.id}", token=self._issued_token)

    def backup(self, to: Path) -> None:
        """A copy of all that it keeps, as of now."""
        with (
            contextlib.closing(sqlite3.connect(self.state_dir / DATABASE)) as kept,
            contextlib.closing(sqlite3.connect(to)) as copy,
        ):
            kept.backup(copy)

    def restored(self, backup: Path) -> Self:
        """A new process in its place, with what it was at the time of the backup."""
        self.kill()
        for suffix in ("", "-wal", "-shm"):
            (self.state_dir / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        shutil.copy(backup, self.state_dir / DATABASE)
        return type(self).start(self.state_dir, 0, False, *self._options)

    def connection(self, timeout_s: float = REQUEST_TIMEOUT_S) -> HTTPSConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=self._tls)

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> HTTPResponse:
        """The answer with its body unread, for streams. A `token` "" sends none; a str body goes as is."""
        if query:
            path += "?" + urlencode({name: _as_text(value) for name, value in query.items()}, quote_via=quote)
        sent: dict[str, str] = {}
        token = self.token if token is None else token
        if token:
            sent["Authorization"] = f"Bearer {token}"
        payload = None
        if body is not None:
            payload = body if isinstance(body, str | bytes) else json.dumps(body)
            sent["Content-Type"] = content_type or "application/json"
        connection = self.connection(timeout_s)
        connection.request(method, path, payload, {**sent, **(headers or {})})
        return connection.getresponse()

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """As open(), read to the end."""
        response = self.open(method, path, **options)
        try:
            return Answer(response)
        finally:
            response.close()

    def ok(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer below 300; raises ClusterError for others."""
        answer = self.request(method, path, **options)
        if answer.status >= 300:
            raise ClusterError(f"{method} {path}: {answer.status} {answer.text}")
        return answer.json()

    def watch(
        self, path: str, query: Mapping[str, object] | None = None, timeout_s: float = 60
    ) -> Iterator[Obj]:
        """Events of a watch, open when this returns, until the server ends it."""
        response = self.open("GET", path, query={"watch": "1", **(query or {})}, timeout_s=timeout_s)

        def events() -> Iterator[Obj]:
            with contextlib.closing(response):
                while line := response.readline():
                    yield json.loads(line)

        return events()

    def create_namespace(self, name: str) -> None:
        self.ok("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})

    # Builds.

    def create_job(
        self,
        name: str,
        namespace: str = NAMESPACE,
        third_party_id: str = "acme",
        parser_id: str = "orders",
        sim: Mapping[str, object] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        image_uri: str | None = None,
        **spec: object,
    ) -> Obj:
        """A build Job as the real ones look. `sim` keys come without the sim/ prefix; `spec` is the Job's."""
        job = build_job(name, third_party_id, parser_id, sim or {}, image_uri)
        job["metadata"]["labels"] |= labels or {}
        job["metadata"]["annotations"] |= annotations or {}
        job["spec"] |= spec
        created: Obj = self.ok("POST", jobs_path(namespace), body=job)
        return created

    def get_job(self, name: str, namespace: str = NAMESPACE) -> Obj | None:
        """None when there is none."""
        answer = self.request("GET", f"{jobs_path(namespace)}/{name}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise ClusterError(answer.text)
        found: Obj = answer.json()
        return found

    def jobs(self, namespace: str = NAMESPACE, selector: str = "") -> list[Obj]:
        found: list[Obj] = self.ok("GET", jobs_path(namespace), query={"labelSelector": selector})["items"]
        return found

    def pods(self, job: str = "", namespace: str = NAMESPACE) -> list[Obj]:
        """All pods, or those that bear the Job's name as a label."""
        query = {"labelSelector": f"job-name={job}"} if job else {}
        found: list[Obj] = self.ok("GET", pods_path(namespace), query=query)["items"]
        return found

    def delete_job(self, name: str, namespace: str = NAMESPACE, policy: str = "Background") -> Answer:
        return self.request("DELETE", f"{jobs_path(namespace)}/{name}", query={"propagationPolicy": policy})

    def log(self, pod: str, namespace: str = NAMESPACE, **query: object) -> str:
        return self.request("GET", f"{pods_path(namespace)}/{pod}/log", query=query).text

    # Waiting.

    def job_gone(self, name: str, namespace: str = NAMESPACE, timeout_s: float = 10) -> bool:
        """Whether the Job and its pods are gone before the time is over."""

        def is_gone() -> bool:
            return self.get_job(name, namespace) is None and not self.pods(name, namespace)

        return eventually(is_gone, timeout_s)

    def wait_for_condition(
        self, name: str, type_: str, namespace: str = NAMESPACE, timeout_s: float = 15
    ) -> Obj:
        """The Job once it has the condition; raises ClusterError when it does not get it."""

        def has_it() -> bool:
            return type_ in true_conditions(self.get_job(name, namespace))

        if not eventually(has_it, timeout_s):
            raise ClusterError(f"Job {name} has no condition {type_}: {self.get_job(name, namespace)}")
        job = self.get_job(name, namespace)
        assert job is not None
        return job

    def wait_for_pod(
        self, job: str, phase: str = "Running", namespace: str = NAMESPACE, timeout_s: float = 15
    ) -> Obj:
        """A pod of the Job in the phase; raises ClusterError when there is none."""
        found: list[Obj] = []

        def is_there() -> bool:
            found[:] = [pod for pod in self.pods(job, namespace) if pod["status"]["phase"] == phase]
            return bool(found)

        if not eventually(is_there, timeout_s):
            raise ClusterError(f"Job {job} has no pod in phase {phase}.")
        return found[0]


def jobs_path(namespace: str = NAMESPACE) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" if namespace else "/apis/batch/v1/jobs"


def pods_path(namespace: str = NAMESPACE) -> str:
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"


def true_conditions(job: Obj | None) -> list[str]:
    conditions = (job or {}).get("status", {}).get("conditions", [])
    return [entry["type"] for entry in conditions if entry["status"] == "True"]


def eventually(holds: Callable[[], bool], timeout_s: float, every_s: float = 0.03) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def build_job(
    name: str,
    third_party_id: str = "acme",
    parser_id: str = "orders",
    sim: Mapping[str, object] | None = None,
    image_uri: str | None = None,
) -> Obj:
    """The body of a build Job, with labels and annotations as the portal looks for them."""
    labels = {
        "app": "knative-lambda-builder",
        "build.notifi.network/third-party-id": third_party_id,
        "build.notifi.network/parser-id": parser_id,
    }
    image = image_uri or f"registry.local/lambda/{third_party_id}/{parser_id}:{name[-6:]}"
    container = {
        "name": "kaniko",
        "image": IMAGE,
        "args": [f"--context=s3://contexts/{third_party_id}/{parser_id}.tar.gz", f"--destination={image}"],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
    }
    annotations = {f"sim/{key}": _as_text(value) for key, value in (sim or {}).items()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": dict(labels),
            "annotations": {
                "lambda.knative.io/image-uri": image,
                "build.notifi.network/correlation-id": f"corr-{name}",
            },
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": dict(labels), "annotations": annotations},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            },
        },
    }


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
