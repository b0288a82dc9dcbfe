"""Pod logs of the stand-in: recording 12 told again, with the same texts, codes and cuts."""

import re
import time
from typing import Any

import pytest

from tests.cluster import DevCluster, eventually, pods_path
from tests.devcluster import replay

RECORDED = {e["id"]: e for e in replay.load("12-pod-logs")["entries"] if "request" in e}
PATH = pods_path("builds")


def begin(cluster: DevCluster, name: str, **sim: object) -> str:
    """The name of the new Job's pod."""
    keys = {key.replace("_", "-"): value for key, value in sim.items()}
    cluster.create_job(name, "builds", sim=keys)
    assert eventually(lambda: bool(cluster.pods(name, "builds")), 5)
    return str(cluster.pods(name, "builds")[0]["metadata"]["name"])


def running(cluster: DevCluster, name: str, **sim: object) -> str:
    """The name of the pod, which has started; a short one may be over already."""
    pod = begin(cluster, name, **{"pull_seconds": 0, **sim})
    assert eventually(lambda: cluster.pods(name, "builds")[0]["status"]["phase"] != "Pending", 10)
    return pod


def get(cluster: DevCluster, pod: str, **query: object) -> Any:
    return cluster.request("GET", f"{PATH}/{pod}/log", query=query)


def recorded_text(entry: int) -> str:
    return str(RECORDED[entry]["response"]["body"])


def recorded_refusal(entry: int, pod: str) -> tuple[int, Any]:
    response = RECORDED[entry]["response"]
    name = RECORDED[entry]["request"]["path"].split("/")[-2]
    return response["status"], replay.json.loads(replay.json.dumps(response["body"]).replace(name, pod))


@pytest.mark.parametrize("entry", [3, 5, 6, 7, 8, 9, 10, 11, 12])
def test_refusals_before_the_start(cluster: DevCluster, entry: int) -> None:
    pod = begin(cluster, f"early-{entry}", schedule_seconds=0, pull_seconds=60)
    assert eventually(lambda: get(cluster, pod).status == 400, 5)
    answer = get(cluster, pod, **RECORDED[entry]["request"]["query"])
    assert (answer.status, answer.json()) == recorded_refusal(entry, pod)


def test_an_unscheduled_pod_has_no_content(cluster: DevCluster) -> None:
    pod = begin(cluster, "unbound", schedule_seconds=60)
    for query in ({}, {"follow": "true"}):
        answer = get(cluster, pod, **query)
        assert (answer.status, answer.content) == (204, b"")
        assert answer.headers["Content-Type"] is None


def test_the_log_of_a_finished_container_is_as_recorded(cluster: DevCluster) -> None:
    pod = running(cluster, "whole", run_seconds=4, log_lines=8)
    response = cluster.open("GET", f"{PATH}/{pod}/log", query={"follow": "true"}, timeout_s=20)
    begun = time.monotonic()
    first = response.readline()
    assert time.monotonic() - begun < 0.5, "the first line comes at the start, not at the end"
    second = response.readline()
    assert 0.2 < time.monotonic() - begun < 1.5, "and each of the others in its time"
    followed = (first + second + response.read()).decode()
    assert followed == recorded_text(26)
    assert 3 < time.monotonic() - begun < 6
    answer = get(cluster, pod)
    assert answer.text == followed
    assert answer.headers["Content-Type"] == "text/plain"
    assert get(cluster, pod, follow="true").text == followed


def test_parts_of_a_log(cluster: DevCluster) -> None:
    pod = running(cluster, "parts", run_seconds=0.05, log_lines=3)
    cluster.wait_for_condition("parts", "Complete", "builds")
    whole = get(cluster, pod).text
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 3
    assert get(cluster, pod, tailLines=2).text == "".join(lines[1:])
    assert get(cluster, pod, tailLines=0).text == ""
    assert get(cluster, pod, limitBytes=100).text == whole[:100]
    assert get(cluster, pod, limitBytes=60, tailLines=2).text == "".join(lines[1:])[:60]
    stamped = get(cluster, pod, tailLines=2, timestamps="true").text.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == [line.rstrip("\n") for line in lines[1:]]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", line) for line in stamped)
    assert get(cluster, pod, sinceTime="2999-01-01T00:00:00Z").text == ""
    assert get(cluster, pod, sinceTime="2000-01-01T00:00:00Z").text == whole
    assert get(cluster, pod, sinceSeconds=3600).text == whole


def test_since_leaves_out_what_is_older(cluster: DevCluster) -> None:
    pod = running(cluster, "since", run_seconds=60, log_lines=60)
    time.sleep(2.5)
    assert len(get(cluster, pod).text.splitlines()) == 3
    assert len(get(cluster, pod, sinceSeconds=1).text.splitlines()) == 1
    cluster.delete_job("since", "builds")


def test_following_ends_when_the_job_is_deleted(cluster: DevCluster) -> None:
    pod = running(cluster, "cut", run_seconds=60, log_lines=120, term_seconds=0.6)
    response = cluster.open("GET", f"{PATH}/{pod}/log", query={"follow": "true"}, timeout_s=20)
    assert response.readline()
    cluster.delete_job("cut", "builds")
    begun = time.monotonic()
    rest = response.read()
    assert 0.3 < time.monotonic() - begun < 3
    assert rest.endswith(b"\n")
    assert eventually(lambda: get(cluster, pod).status == 404, 5)


def test_previous_needs_a_previous_run(cluster: DevCluster) -> None:
    pod = running(cluster, "once", run_seconds=60)
    answer = get(cluster, pod, previous="true")
    assert answer.status == 400
    assert answer.json()["message"] == f'previous terminated container "kaniko" in pod "{pod}" not found'
    cluster.delete_job("once", "builds")


def test_an_image_that_cannot_be_pulled(cluster: DevCluster) -> None:
    pod = begin(cluster, "pull", image_pull_error=1, pull_seconds=0.05)
    seen = []

    def says(text: str) -> bool:
        answer = get(cluster, pod)
        seen.append(answer.json()["message"] if answer.status == 400 else "")
        return text in seen[-1]

    assert eventually(lambda: says("image can't be pulled"), 5), seen
    assert eventually(lambda: says("trying and failing to pull image"), 5), seen


def test_several_containers_must_be_named(cluster: DevCluster) -> None:
    job = {
        "metadata": {"name": "several"},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": {"sim/clone.run-seconds": "1.5", "sim/pull-seconds": "0"}},
                "spec": {
                    "restartPolicy": "Never",
                    "initContainers": [{"name": "clone", "image": "git:2"}],
                    "containers": [{"name": "kaniko", "image": "k:1"}, {"name": "sidecar", "image": "s:1"}],
                },
            },
        },
    }
    cluster.ok("POST", "/apis/batch/v1/namespaces/builds/jobs", body=job)
    assert eventually(lambda: bool(cluster.pods("several", "builds")), 5)
    pod = cluster.pods("several", "builds")[0]["metadata"]["name"]
    assert eventually(lambda: get(cluster, pod, container="clone").status == 200, 5)
    for entry, query in ((34, {}), (35, {"container": "kaniko"})):
        answer = get(cluster, pod, **query)
        assert (answer.status, answer.json()) == recorded_refusal(entry, pod)
    status = cluster.pods("several", "builds")[0]["status"]
    assert status["conditions"][1]["reason"] == "ContainersNotInitialized"
    assert "running" in status["initContainerStatuses"][0]["state"]
    cluster.wait_for_condition("several", "Complete", "builds")
    assert get(cluster, pod, container="sidecar").text


def test_bytes_pass_unchanged_and_long_lines_are_several_records(cluster: DevCluster) -> None:
    pod = running(cluster, "bytes", run_seconds=0.05, log_style="invalid", log_lines=2)
    long = running(cluster, "long", run_seconds=0.05, log_lines=2, log_line_bytes=20_000, log_style="plain")
    for name in ("bytes", "long"):
        cluster.wait_for_condition(name, "Complete", "builds")
    (raw,) = [
        e["comment"]["raw bytes (hex)"]
        for e in replay.load("12-pod-logs")["entries"]
        if "raw bytes" in str(e.get("comment"))
    ]
    assert get(cluster, pod).content == bytes.fromhex(raw)
    assert len(get(cluster, long, tailLines=1).content) == 3617


@pytest.mark.parametrize("style", ["ansi", "utf8", "cr", "plain"])
def test_styles_write_text(cluster: DevCluster, style: str) -> None:
    pod = running(cluster, f"style-{style}", run_seconds=0.05, log_style=style, log_lines=4)
    cluster.wait_for_condition(f"style-{style}", "Complete", "builds")
    assert get(cluster, pod).content.count(b"\n") == 4


def test_own_text_and_a_last_word(cluster: DevCluster) -> None:
    pod = running(cluster, "own", run_seconds=0.1, log_text="one\ntwo", log_final="the end", exit_code=3)
    cluster.wait_for_condition("own", "Failed", "builds")
    assert get(cluster, pod).text == "one\ntwo\nthe end\n"


@pytest.mark.parametrize(
    ("story", "code", "ending"),
    [
        ("node/ok", 0, r"Pushed .*@sha256:\w{64}$"),
        ("python/dependencies", 1, r"No matching distribution found(?s:.)*exit status 1$"),
        ("go/compile", 1, r"undefined: currency.ParseMinor(?s:.)*exit status 1$"),
        ("java/push-denied", 1, r"DENIED: requested access is denied$"),
        ("node/dockerfile", 1, r"unknown instruction: RUNN$"),
        (
            "node/base-image",
            1,
            r"Retrieving image manifest node:20.*\nerror .*MANIFEST_UNKNOWN: manifest unknown$",
        ),
        ("go/push-denied", 0, r"Pushed .*@sha256:\w{64}$"),
    ],
)
def test_stories_end_as_they_should(cluster: DevCluster, story: str, code: int, ending: str) -> None:
    name = f"story-{story.replace('/', '-')}-{code}"
    pod = running(cluster, name, run_seconds=0.1, log_story=story, exit_code=code)
    cluster.wait_for_condition(name, "Failed" if code else "Complete", "builds")
    text = get(cluster, pod).text.strip()
    assert re.search(ending, text), text[-400:]
    assert text.startswith("INFO[0000] Downloading build context from s3://contexts/acme/")
