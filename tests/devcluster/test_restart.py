"""The stand-in keeps what it was told: objects, logs, versions and running pods come back after SIGKILL."""

import json
import re
import ssl
import time
from pathlib import Path

import pytest

from tests.cluster import ClusterError, DevCluster, eventually, jobs_path, true_conditions


def test_everything_is_back_after_a_kill(own_cluster: DevCluster) -> None:
    own_cluster.create_job("done", sim={"run-seconds": 0.05, "log-lines": 5})
    own_cluster.create_job("long", sim={"run-seconds": 4, "log-lines": 8})
    done = own_cluster.wait_for_condition("done", "Complete")
    (pod,) = own_cluster.pods("done")
    log = own_cluster.log(pod["metadata"]["name"])
    running = own_cluster.wait_for_pod("long")
    identity = own_cluster.ok("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    events = own_cluster.ok("GET", "/api/v1/events")["items"]
    version = own_cluster.ok("GET", jobs_path())["metadata"]["resourceVersion"]
    own_cluster.kill()
    kubeconfig = own_cluster.kubeconfig.read_text()
    again = DevCluster.start(own_cluster.state_dir)
    try:
        assert again.kubeconfig.read_text() == kubeconfig, (
            "the clients' kubeconfig stays good: same port, same CA"
        )
        assert again.ok("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"] == identity
        assert again.get_job("done") == done
        assert again.pods("done") == [pod]
        assert again.log(pod["metadata"]["name"]) == log
        names = {event["metadata"]["name"] for event in events}
        assert names <= {e["metadata"]["name"] for e in again.ok("GET", "/api/v1/events")["items"]}
        assert int(again.ok("GET", jobs_path())["metadata"]["resourceVersion"]) > int(version)
        (event,) = again.watch(jobs_path(), {"resourceVersion": version})
        assert event["object"]["code"] == 410, "every version from before is too old"
        again.wait_for_condition("long", "Complete")
        (finished,) = again.pods("long")
        assert finished["metadata"]["uid"] == running["metadata"]["uid"]
        assert len(again.log(finished["metadata"]["name"]).splitlines()) == 8
    finally:
        again.stop()


def test_pods_go_on_while_the_server_is_away(own_cluster: DevCluster) -> None:
    own_cluster.create_job("away", sim={"run-seconds": 2, "pull-seconds": 0})
    started = own_cluster.wait_for_pod("away")["status"]["containerStatuses"][0]["state"]["running"][
        "startedAt"
    ]
    own_cluster.kill()
    time.sleep(5)
    again = DevCluster.start(own_cluster.state_dir)
    try:
        again.wait_for_condition("away", "Complete")
        ended = again.pods("away")[0]["status"]["containerStatuses"][0]["state"]["terminated"]
        seconds = [int(re.split(r"[:Z]", text)[2]) for text in (ended["startedAt"], ended["finishedAt"])]
        assert ended["startedAt"] == started
        assert (seconds[1] - seconds[0]) % 60 <= 3, "it ended when it was due, not when the server came back"
    finally:
        again.stop()


def test_a_deletion_is_carried_out_after_a_kill(own_cluster: DevCluster) -> None:
    own_cluster.create_job("going", sim={"run-seconds": 60, "term-seconds": 1})
    own_cluster.wait_for_pod("going")
    assert own_cluster.delete_job("going", policy="Foreground").status == 200
    own_cluster.kill()
    again = DevCluster.start(own_cluster.state_dir)
    try:
        assert again.job_gone("going")
    finally:
        again.stop()


def test_continue_tokens_from_before_are_expired(own_cluster: DevCluster) -> None:
    for name in ("a", "b", "c"):
        own_cluster.create_job(name, suspend=True)
    token = own_cluster.ok("GET", jobs_path(), query={"limit": 1})["metadata"]["continue"]
    again = own_cluster.restart()
    try:
        refused = again.request("GET", jobs_path(), query={"limit": 1, "continue": token})
        assert (refused.status, refused.json()["reason"]) == (410, "Expired")
        rest = refused.json()["metadata"]["continue"]
        page = again.ok("GET", jobs_path(), query={"limit": 1, "continue": rest})
        assert [item["metadata"]["name"] for item in page["items"]] == ["b"]
        answer = again.request(
            "GET", jobs_path(), query={"resourceVersion": "5", "resourceVersionMatch": "Exact"}
        )
        assert (answer.status, answer.json()["reason"]) == (410, "Expired")
    finally:
        again.stop()


def test_a_paused_cluster_hangs_and_comes_back(own_cluster: DevCluster) -> None:
    own_cluster.pause()
    try:
        with pytest.raises(TimeoutError):
            own_cluster.request("GET", jobs_path(), timeout_s=0.5)
    finally:
        own_cluster.resume()
    assert own_cluster.jobs() == []


def test_a_taken_port_is_one_sentence(own_cluster: DevCluster, tmp_path: Path) -> None:
    port = int(own_cluster.url.rpartition(":")[2])
    with pytest.raises(ClusterError, match=r"devcluster cannot start: .*in use") as failure:
        DevCluster.start(tmp_path / "second", port=port)
    assert "Traceback" not in str(failure.value)


def test_a_folder_in_use_is_one_sentence(own_cluster: DevCluster) -> None:
    with pytest.raises(ClusterError, match="another devcluster uses") as failure:
        DevCluster.start(own_cluster.state_dir)
    assert "Traceback" not in str(failure.value)
    assert own_cluster.jobs() == [], "the first goes on"


def test_the_kubeconfig_is_for_its_owner_alone(own_cluster: DevCluster) -> None:
    assert own_cluster.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_a_client_that_does_not_know_the_ca_does_not_connect(own_cluster: DevCluster) -> None:
    own_cluster._tls = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        own_cluster.request("GET", "/version")


def test_the_demo_shows_life_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    cluster = DevCluster.start(tmp_path, demo=True)
    try:
        assert eventually(lambda: len(cluster.jobs(selector="app=knative-lambda-builder")) >= 4, 3)
        assert eventually(lambda: sum(p["status"]["phase"] == "Running" for p in cluster.pods()) >= 2, 4), (
            "several builds run within seconds"
        )
        before = {job["metadata"]["uid"] for job in cluster.jobs()}
        names = [job["metadata"]["name"] for job in cluster.jobs()]
        assert all(re.fullmatch(r"build-[a-z0-9-]+-[0-9a-f]{6}", name) and len(name) <= 63 for name in names)
        labels = cluster.jobs()[0]["metadata"]["labels"]
        assert {"build.notifi.network/third-party-id", "build.notifi.network/parser-id"} <= labels.keys()
    finally:
        cluster.kill()
    again = DevCluster.start(tmp_path, 0, True, "--demo-rate", "4")
    try:
        assert before <= {job["metadata"]["uid"] for job in again.jobs()}
        assert eventually(lambda: len(again.jobs()) > len(before), 8)
        assert eventually(lambda: any(true_conditions(job) for job in again.jobs()), 20)
        assert "Traceback" not in (tmp_path / "devcluster.log").read_text()
        assert json.dumps(again.jobs()).count("lambda.knative.io/image-uri") >= len(before)
    finally:
        again.stop()
