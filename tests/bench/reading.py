"""`python -m tests.bench.reading gateway|official KUBECONFIG`: times one reading of all Jobs and pods.

Prints JSON; writes no row.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builds.kube import Cluster, ClusterConfig
from tests.bench.objects import NAMESPACE

PAGE = 500


def by_gateway(kubeconfig: Path) -> Callable[[], tuple[int, int]]:
    """Through the portal's gateway, which joins Jobs and pods."""
    cluster = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=kubeconfig))

    def read() -> tuple[int, int]:
        jobs = pods = 0
        for job in cluster.snapshots(NAMESPACE).jobs:
            jobs += 1
            pods += len(job.pods)
        return jobs, pods

    return read


def by_official_client(kubeconfig: Path) -> Callable[[], tuple[int, int]]:
    """Page by page as model objects, of which none is kept."""
    from kubernetes import client, config

    api = config.new_client_from_config(str(kubeconfig))

    def count(listed: Callable[..., Any]) -> int:
        found, token = 0, None
        while True:
            page = listed(NAMESPACE, limit=PAGE, _continue=token, _request_timeout=60)
            found += len(page.items)
            token = page.metadata._continue
            if not token:
                return found

    def read() -> tuple[int, int]:
        return count(client.BatchV1Api(api).list_namespaced_job), count(
            client.CoreV1Api(api).list_namespaced_pod
        )

    return read


READERS = {"gateway": by_gateway, "official": by_official_client}


def main() -> None:
    read = READERS[sys.argv[1]](Path(sys.argv[2]))
    begun = time.monotonic()
    jobs, pods = read()
    took_s = time.monotonic() - begun
    sys.stdout.write(json.dumps({"jobs": jobs, "pods": pods, "seconds": took_s}) + "\n")


if __name__ == "__main__":
    main()
