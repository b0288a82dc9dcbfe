"""One namespace of a cluster under a real watcher: builds in it, what the portal knows, and what it said."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import connections

from builds.models import Build, NamespaceSync
from tests.cluster import DevCluster, jobs_path
from tests.processes import Process, wait_until
from tests.surroundings import database_url_of

QUICK = {"schedule-seconds": 0, "pull-seconds": 0, "run-seconds": 0.2, "log-lines": 2, "term-seconds": 0.1}
LONG = QUICK | {"run-seconds": 300}
WATCH_SILENCE_S = 6
SETTLED_AFTER_S = 5.5


def portal_variables(kubeconfig: Path, state_dir: Path) -> dict[str, str]:
    """The environment of a watcher on this test's rows that soon notices silence."""
    return {
        **os.environ,
        "DATABASE_URL": database_url_of(connections.settings["default"]),
        "STATE_DIR": str(state_dir),
        "KUBECONFIG": str(kubeconfig),
        "KUBE_WATCH_SILENCE_S": str(WATCH_SILENCE_S),
        "KUBE_PAGE_SIZE": "2",
        "MISSING_GRACE_S": "1",
    }


@dataclass(frozen=True)
class Scene:
    cluster: DevCluster
    watcher: Process
    namespace: str

    def fault(self, kind: str, **options: object) -> Any:
        """A fault in this namespace alone."""
        return self.cluster.fault(kind, namespace=self.namespace, **options)

    def reconnect(self, resource: str = "jobs") -> None:
        """End the open watch properly, which is no trouble."""
        with self.fault("close", verb="watch", resource=resource, times=1) as fault:
            wait_until(lambda: fault.hits, 5, "the stream is ended")

    # The cluster's side.

    def job(self, sim: Mapping[str, object] | None = None, **options: Any) -> str:
        """A new Job's name."""
        name = f"build-{uuid4().hex[:8]}"
        self.cluster.create_job(name, self.namespace, sim={**QUICK, **(sim or {})}, **options)
        return name

    # The portal's side.

    @property
    def sync(self) -> NamespaceSync:
        """As stored; a namespace that nothing was written of yet has nothing to tell."""
        stored = NamespaceSync.objects.filter(namespace=self.namespace).first()
        return stored or NamespaceSync(namespace=self.namespace)

    def builds(self, name: str) -> list[Build]:
        return list(Build.objects.filter(namespace=self.namespace, name=name).order_by("pk"))

    def wait_for(self, name: str, status: str, reason: str | None = None, within_s: float = 20) -> Build:
        """The one build of that name, once it is so."""

        def found() -> Build | None:
            wanted = Build.objects.filter(namespace=self.namespace, name=name, status=status)
            return wanted.filter(status_reason=reason).first() if reason else wanted.first()

        try:
            build = wait_until(found, within_s, f"{name} is {status} {reason or ''}")
        except AssertionError as error:
            for one in self.builds(name):
                error.add_note(f"{one.status} {one.status_reason} {one.error_message}")
            error.add_note("\n".join(map(str, self.said())))
            raise
        assert build is not None
        assert len(self.builds(name)) == 1, "one Job, one build"
        return build

    def wait_until_settled(self) -> None:
        """The first list is recorded, and the watches have been open for a while."""

        def is_settled() -> bool:
            sync = NamespaceSync.objects.filter(namespace=self.namespace).first()
            if sync is None or sync.listed_at is None or sync.watched_at is None:
                return False
            return (datetime.now(UTC) - sync.listed_at).total_seconds() > SETTLED_AFTER_S

        wait_until(is_settled, 30, f"{self.namespace} is followed")

    def assert_followed(self, within_s: float = 15) -> None:
        """A new build is seen from its beginning to its end."""
        self.wait_for(self.job(), "succeeded", within_s=within_s)

    # What it said.

    def said(self) -> list[dict[str, Any]]:
        """The watcher's lines about this namespace."""
        lines = [json.loads(line) for line in self.watcher.output.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("namespace") == self.namespace]

    def warnings(self) -> list[dict[str, Any]]:
        return [line for line in self.said() if line["level"] in ("warning", "error")]

    def assert_told_once(self, *words: str) -> None:
        """The outage is in one line of the log, and counted."""
        wait_until(self.warnings, 5, "the trouble is told")
        (line,) = self.warnings()
        for word in words:
            assert word in line["error"], line
        sync = self.sync
        assert sync.troubles == 1
        assert sync.watch_restarts >= 1

    def wait_until_it_is_over(self) -> None:
        """The end of an outage is told too, once the watches have held for a while."""
        begun = time.monotonic()
        wait_until(
            lambda: [line for line in self.said() if line["event"] == "watch is back"], 25, "watch is back"
        )
        assert time.monotonic() - begun < 25

    def jobs_path(self) -> str:
        return jobs_path(self.namespace)
