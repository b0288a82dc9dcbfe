"""Following a namespace while the API server misbehaves: nothing is lost or told twice, nobody is flooded."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builds.kube import (
    Cluster,
    ClusterConfig,
    ClusterUnreachable,
    EventSeen,
    Forbidden,
    Heartbeat,
    JobChanged,
    JobGone,
    Listed,
    Malformed,
    PodGone,
    ServerFault,
    Throttled,
    Trouble,
    VersionExpired,
    follow,
    watching,
)
from tests.kube.conftest import Connect, Reader
from tests.kube.pki import Pki
from tests.kube.replay import entries, entry, recorded_answer, watch_line
from tests.kube.server import Answer, Request, ScriptedServer, held_open

Reading = Callable[[Cluster], Reader]
CREATED_AT = "2026-11-23T04:00:00Z"


def job(name: str, version: int, **status: Any) -> dict[str, Any]:
    """The least that an API server stores of a Job."""
    meta = {"name": name, "namespace": "builds", "uid": f"uid-{name}", "creationTimestamp": CREATED_AT}
    return {"metadata": meta | {"resourceVersion": str(version)}, "spec": {}, "status": status}


def pod(name: str, version: int, of: str) -> dict[str, Any]:
    """A pod of the Job `of`."""
    found = job(name, version, phase="Running")
    found["metadata"]["labels"] = {"batch.kubernetes.io/controller-uid": f"uid-{of}"}
    return found


def event(name: str, version: int, about: dict[str, Any], kind: str = "Pod") -> dict[str, Any]:
    """An Event about an object."""
    involved = {"kind": kind, "name": about["metadata"]["name"], "uid": about["metadata"]["uid"]}
    return job(name, version) | {"involvedObject": involved, "reason": "Started", "message": "m"}


def bookmark(version: int) -> bytes:
    """As recorded: a skeleton that is no valid Job."""
    skeleton = {
        "kind": "Job",
        "metadata": {"resourceVersion": str(version)},
        "spec": {"template": {"metadata": {}, "spec": {"containers": None}}},
        "status": {},
    }
    return watch_line("BOOKMARK", skeleton)


def error_line(code: int, reason: str) -> bytes:
    status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"}
    return watch_line("ERROR", status)


def listed(*items: dict[str, Any], version: int = 10) -> Answer:
    """A list in one page."""
    content = {"metadata": {"resourceVersion": str(version)}, "items": items}
    return Answer(body=json.dumps(content).encode())


class Api(ScriptedServer):
    """Lists that are empty and watches that are open and silent, until a test says otherwise."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for resource in ("jobs", "pods", "events"):
            self.on("GET", f"/{resource}", listed())
            self.on("GET", f"/{resource}", self.silence, watch="1")

    def silence(self, _: Request) -> Answer:
        """An open watch on which nothing happens."""
        return Answer(chunks=held_open(self))

    def says(
        self, *lines: bytes, ends: bool = False, breaks_off: bool = False
    ) -> Callable[[Request], Answer]:
        """A watch with these lines, after Jobs and pods have been listed; it stays open unless it `ends`."""

        def lines_in_time() -> Iterator[bytes]:
            while not (self.watches("jobs") and self.watches("pods")) and not self.closing.wait(0.01):
                pass
            yield from lines
            if not ends and not breaks_off:
                self.closing.wait(60)

        def answer(_: Request) -> Answer:
            return Answer(chunks=lines_in_time(), breaks_off=breaks_off)

        return answer

    def watches(self, resource: str) -> list[Request]:
        """The watch requests so far."""
        return [one for one in self.requests if one.path.endswith(f"/{resource}") and "watch" in one.query]

    def lists(self, resource: str) -> int:
        """How often it was listed."""
        return sum(
            one.path.endswith(f"/{resource}") and "watch" not in one.query for one in list(self.requests)
        )


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as running:
        yield running


def names(reading: Reader, kind: type = JobChanged) -> list[str]:
    """The names of the Jobs told, in order."""
    return [one.snapshot.name for one in reading.of(kind)]


class TestOneConnection:
    def test_the_request(self, api: Api, connect: Connect, reader: Reading) -> None:
        reading = reader(connect(api, selector="app=x"))
        reading.until(lambda: api.watches("jobs") and api.watches("pods") and api.watches("events"))
        query = api.watches("jobs")[0].query
        assert 240 <= int(query.pop("timeoutSeconds")) <= 300
        expected = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "10"}
        assert query == expected | {"labelSelector": "app=x"}
        assert api.watches("pods")[0].query["labelSelector"] == "batch.kubernetes.io/controller-uid"
        assert "labelSelector" not in api.watches("events")[0].query

    def test_lines_may_come_in_any_pieces(self, api: Api, connect: Connect, reader: Reading) -> None:
        text = watch_line("ADDED", job("a", 11)) + watch_line("ADDED", job("ü", 12))
        pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
        api.on("GET", "/jobs", api.says(*pieces), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(names(reading)) == 2)
        assert names(reading) == ["a", "ü"]

    def test_a_line_cut_off_is_told_again_by_the_next_connection(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        line = watch_line("ADDED", job("b", 12))
        cut = api.says(watch_line("ADDED", job("a", 11)), line[:40], breaks_off=True)
        api.on("GET", "/jobs", cut, api.says(line), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(names(reading)) == 2)
        assert names(reading) == ["a", "b"]
        assert [one.query["resourceVersion"] for one in api.watches("jobs")] == ["10", "11"]
        assert api.lists("jobs") == 1, "a connection that breaks is resumed, not begun again"
        (trouble,) = reading.of(Trouble)
        assert isinstance(trouble.error, ClusterUnreachable)
        assert trouble.what == "watch jobs in namespace builds"

    def test_a_proper_end_is_resumed_from_the_last_bookmark(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        ended = api.says(watch_line("ADDED", job("a", 11)), bookmark(40), ends=True)
        api.on("GET", "/jobs", ended, api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(api.watches("jobs")) == 2)
        assert api.watches("jobs")[1].query["resourceVersion"] == "40"
        assert api.lists("jobs") == 1
        assert reading.of(Trouble) == []

    def test_an_unknown_kind_of_line_is_passed_over(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        lines = [watch_line("NOVELTY", {"x": 1}), watch_line("ADDED", job("a", 11))]
        api.on("GET", "/jobs", api.says(*lines), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: names(reading) == ["a"])
        assert reading.of(Trouble) == []

    def test_a_line_that_is_no_json_is_told_and_leads_to_a_new_list(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        api.on("GET", "/jobs", api.says(b"<html>\n"), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Listed)) == 2)
        assert isinstance(reading.of(Trouble)[0].error, Malformed)

    def test_a_silent_server_is_given_up(self, api: Api, connect: Connect, reader: Reading) -> None:
        reading = reader(connect(api, watch_silence_s=0.3))
        reading.until(lambda: len(api.watches("jobs")) >= 2)
        trouble = next(one for one in reading.of(Trouble) if "jobs" in one.what)
        assert "silent for 0.3 s" in str(trouble.error)


class TestListAgain:
    def test_too_old_in_the_stream_as_recorded(self, api: Api, connect: Connect, reader: Reading) -> None:
        stream = next(
            found["response"]["stream"]
            for found in (entry("11b-watch-too-old", number) for number in watches_of("11b-watch-too-old"))
            if found["response"]["stream"] and found["response"]["stream"][0]["event"]["type"] == "ERROR"
        )
        raw = watch_line("ERROR", stream[0]["event"]["object"])
        api.on("GET", "/jobs", listed(job("a", 11)), listed(job("b", 21), version=22))
        api.on("GET", "/jobs", api.says(raw, ends=True), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Listed)) == 2)
        assert [[one.name for one in each.jobs] for each in reading.of(Listed)] == [["a"], ["b"]]
        (trouble,) = reading.of(Trouble)
        assert isinstance(trouble.error, VersionExpired)
        assert trouble.retry_in_s == 0.0, "the normal way of things: the list follows at once"

    def test_410_at_the_door(self, api: Api, connect: Connect, reader: Reading) -> None:
        gone = Answer(410, b'{"kind":"Status","code":410,"reason":"Expired"}')
        api.on("GET", "/pods", gone, api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(api.watches("pods")) == 2)
        assert api.lists("pods") == 2
        assert isinstance(reading.of(Trouble)[0].error, VersionExpired)

    def test_410_without_end_is_no_storm(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", Answer(chunks=[error_line(410, "Expired")]), watch="1")
        reading = reader(connect(api))
        time.sleep(2)
        assert 2 <= len(api.watches("jobs")) <= 6
        assert len(reading.of(Trouble)) >= 2

    def test_a_server_that_closes_at_once_is_no_storm(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        for resource in ("jobs", "pods", "events"):
            api.on("GET", f"/{resource}", Answer(chunks=[]), watch="1")
        reading = reader(connect(api))
        time.sleep(2)
        assert len(api.requests) <= 20
        assert "closes the stream at once" in str(reading.of(Trouble)[0].error)
        delays = [one.retry_in_s for one in reading.of(Trouble) if "jobs" in one.what]
        assert delays == sorted(delays)
        assert delays[-1] > delays[0]

    def test_bookmarks_alone_do_not_make_a_storm(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", Answer(chunks=[bookmark(11)]), watch="1")
        reader(connect(api))
        time.sleep(2)
        assert len(api.watches("jobs")) <= 6

    def test_a_server_that_is_down_is_asked_seldom_and_found_again(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        for resource in ("jobs", "pods", "events"):
            api.on("GET", f"/{resource}", Answer(503, b"apiserver is shutting down"))
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Trouble)) >= 6)
        assert all(isinstance(one.error, ServerFault) for one in reading.of(Trouble))
        assert reading.of(Listed) == []
        assert not any(one.connected for one in reading.of(Heartbeat))
        del api._script[:3]
        reading.until(lambda: reading.of(Listed) and reading.is_connected())

    def test_a_version_from_the_future_brings_nothing_and_leads_to_a_new_list(
        self, api: Api, connect: Connect, reader: Reading, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watching, "SETTLED_AFTER_S", 0.2)

        def nothing() -> Iterator[bytes]:
            api.closing.wait(0.3)
            yield from ()

        api.on("GET", "/jobs", listed(version=100_000), listed(job("a", 3), version=4))
        api.on("GET", "/jobs", Answer(chunks=nothing()), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Listed)) == 2)
        assert api.watches("jobs")[0].query["resourceVersion"] == "100000"
        assert reading.of(Listed)[1].version == 4
        assert reading.of(Trouble) == []

    def test_retry_after_is_kept(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", recorded_answer("13-auth-and-bad-requests", 32), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(api.watches("jobs")) == 2)
        first, second = api.watches("jobs")
        (trouble,) = reading.of(Trouble)
        assert isinstance(trouble.error, Throttled)
        assert trouble.retry_in_s >= 1.0
        assert second.at - first.at >= 1.0

    @pytest.mark.parametrize("line", [error_line(500, "InternalError"), error_line(504, "Timeout")])
    def test_another_error_in_the_stream(
        self, api: Api, connect: Connect, reader: Reading, line: bytes
    ) -> None:
        api.on("GET", "/jobs", api.says(line, ends=True), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Listed)) == 2)
        assert isinstance(reading.of(Trouble)[0].error, ServerFault)

    def test_being_forbidden_events_does_not_stop_the_rest(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        api.on("GET", "/events", recorded_answer("13-auth-and-bad-requests", 2))
        api.on("GET", "/jobs", api.says(watch_line("ADDED", job("a", 11))), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: names(reading) == ["a"] and reading.is_connected())
        assert {type(one.error) for one in reading.of(Trouble)} == {Forbidden}


def watches_of(recording: str) -> list[int]:
    """The ids of the recorded watches that were answered by a stream."""
    return [
        one["id"]
        for one in entries(recording)
        if one.get("request", {}).get("query", {}).get("watch") and one["response"].get("stream")
    ]


class TestTogether:
    def test_the_list_waits_for_the_pods(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", listed(job("a", 5), job("b", 6)))
        api.on("GET", "/jobs", api.silence, watch="1")
        slow = Answer(body=listed(pod("a-1", 7, of="a")).body, delay_s=0.5)
        api.on("GET", "/pods", slow)
        api.on("GET", "/pods", api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: reading.of(Listed))
        (found,) = reading.of(Listed)
        assert [(one.name, [each.name for each in one.pods]) for one in found.jobs] == [
            ("a", ["a-1"]),
            ("b", []),
        ]
        assert (found.namespace, found.version) == ("builds", 10)

    def test_a_change_of_a_pod_is_a_change_of_its_job(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        api.on("GET", "/jobs", listed(job("a", 5)))
        api.on("GET", "/jobs", api.silence, watch="1")
        lines = [watch_line("ADDED", pod("a-1", 11, of="a")), watch_line("ADDED", pod("x-1", 12, of="x"))]
        lines.append(watch_line("DELETED", pod("a-1", 13, of="a")))
        api.on("GET", "/pods", api.says(*lines), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(names(reading)) == 2)
        first, second = (one.snapshot for one in reading.of(JobChanged))
        assert ([one.name for one in first.pods], first.version_seen) == (["a-1"], 11)
        assert (second.pods, second.version_seen) == ((), 13)
        assert reading.of(PodGone) == []

    def test_a_job_that_is_deleted(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", listed(job("a", 5)))
        api.on("GET", "/jobs", api.says(watch_line("DELETED", job("a", 11))), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: names(reading, JobGone) == ["a"])

    def test_jobs_missing_from_a_later_list_are_not_told_as_gone(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        api.on("GET", "/jobs", listed(job("a", 5)), listed(version=20))
        api.on("GET", "/jobs", api.says(error_line(410, "Expired"), ends=True), api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(Listed)) == 2)
        assert [[one.name for one in each.jobs] for each in reading.of(Listed)] == [["a"], []]
        assert reading.of(JobGone) == []

    def test_pods_missing_from_a_later_list(self, api: Api, connect: Connect, reader: Reading) -> None:
        api.on("GET", "/jobs", listed(job("a", 5)))
        api.on("GET", "/jobs", api.silence, watch="1")
        both = [pod("a-1", 6, of="a"), pod("old-1", 7, of="old"), pod("old-2", 8, of="old")]
        api.on("GET", "/pods", listed(*both), listed(both[2], version=30))
        expired = api.says(error_line(410, "Expired"), ends=True)
        api.on("GET", "/pods", expired, api.silence, watch="1")
        reading = reader(connect(api))
        reading.until(lambda: reading.of(PodGone) and reading.of(JobChanged))
        (gone,) = reading.of(PodGone)
        assert (gone.job_uid, gone.pod.name, gone.left) == ("uid-old", "old-1", 1)
        (changed,) = reading.of(JobChanged)
        assert (changed.snapshot.pods, changed.snapshot.version_seen) == ((), 30)

    def test_events_find_their_job(self, api: Api, connect: Connect, reader: Reading) -> None:
        known, late, never = pod("a-1", 6, of="a"), pod("a-2", 14, of="a"), pod("x-1", 7, of="x")
        api.on("GET", "/jobs", listed(job("a", 5)))
        api.on("GET", "/jobs", api.silence, watch="1")
        api.on("GET", "/pods", listed(known))
        api.on(
            "GET", "/pods", Answer(chunks=[watch_line("ADDED", late)], delay_s=0.4), api.silence, watch="1"
        )
        node = event("e5", 15, job("n", 1), kind="Node")
        api.on("GET", "/events", listed(event("e1", 8, job("a", 5), kind="Job"), event("e2", 9, known)))
        lines = [watch_line("ADDED", one) for one in (event("e3", 11, late), event("e4", 12, never), node)]
        api.on("GET", "/events", api.says(*lines), watch="1")
        reading = reader(connect(api))
        reading.until(lambda: len(reading.of(EventSeen)) == 4)
        seen = {one.event.uid: one.job_uid for one in reading.of(EventSeen)}
        assert seen == {"uid-e1": "uid-a", "uid-e2": "uid-a", "uid-e3": "uid-a", "uid-e4": None}


class TestStopping:
    def test_silent_watches_do_not_delay_it(self, api: Api, connect: Connect, reader: Reading) -> None:
        reading = reader(connect(api))
        reading.until(reading.is_connected)
        assert reading.stop() < 2
        assert watch_threads() == []

    def test_under_tls_too(self, tmp_path: Path, reader: Reading) -> None:
        pki = Pki(tmp_path)
        with Api(pki.server_context()) as api:
            path = api.kubeconfig(tmp_path, authority=pki.ca)
            reading = reader(Cluster.connect(ClusterConfig("kubeconfig", path)))
            reading.until(reading.is_connected)
            assert reading.stop() < 2
            assert watch_threads() == []

    def test_a_list_without_answer_does_not_delay_it(
        self, api: Api, connect: Connect, reader: Reading
    ) -> None:
        for resource in ("jobs", "pods", "events"):
            api.on("GET", f"/{resource}", Answer(delay_s=4))
        reading = reader(connect(api, read_timeout_s=4))
        reading.until(lambda: len(api.requests) == 3)
        assert reading.stop() < 2

    def test_a_reader_that_goes_away_leaves_no_thread(self, api: Api, connect: Connect) -> None:
        lines = [watch_line("MODIFIED", job("a", 11 + number)) for number in range(5000)]
        api.on("GET", "/jobs", api.says(b"".join(lines)), watch="1")
        changes = follow(connect(api), "builds", stop=threading.Event())
        assert any(isinstance(one, JobChanged) for one in changes)
        changes.close()  # type: ignore[attr-defined]
        assert watch_threads() == []


def watch_threads() -> list[str]:
    """The names of the watchers' threads that still run."""
    return [one.name for one in threading.enumerate() if one.name.startswith("watch-")]


def test_five_hundred_changes_a_second_are_no_load(api: Api, connect: Connect, reader: Reading) -> None:
    count = 5000
    lines = [watch_line("MODIFIED", big(11 + number)) for number in range(count)]
    chunks = [b"".join(lines[at : at + 50]) for at in range(0, count, 50)]
    api.on("GET", "/jobs", api.says(*chunks), watch="1")
    begun, spent = time.monotonic(), time.process_time()
    reading = reader(connect(api))
    reading.until(lambda: len(reading.of(JobChanged)) == count, within_s=30)
    assert time.monotonic() - begun < 10
    assert time.process_time() - spent < 10
    assert [one.snapshot.version for one in reading.of(JobChanged)] == list(range(11, 11 + count))


def big(version: int) -> dict[str, Any]:
    """A Job as large as they are."""
    found = job("a", version)
    found["metadata"]["managedFields"] = [
        {"manager": "x" * 50, "fieldsV1": {f"f:{n}": {} for n in range(150)}}
    ]
    return found
