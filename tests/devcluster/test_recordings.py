"""Recordings of a real API server, sent to the stand-in as they are: the same answers, states and Events."""

import threading
from typing import Any

import pytest

from tests.cluster import DevCluster
from tests.devcluster import replay
from tests.devcluster.replay import Player, Replay

pytestmark = pytest.mark.alone

SCENARIOS = (
    "01-job-complete",
    "02-job-failed-exit1",
    "03-deadline-exceeded",
    "03b-deadline-while-pending",
    "04-backoff-retries",
    "04b-retry-then-success",
    "04c-onfailure-restart",
    "04d-pod-failure-policy",
    "05-already-exists",
    "06-not-found-and-invalid",
    "07a-delete-default",
    "07b-delete-background",
    "07c-delete-foreground",
    "07d-delete-orphan",
    "07e-delete-grace0-background",
    "07f-delete-empty-deleteoptions",
    "07g-delete-misc",
    "07h-delete-lost-node",
    "08-delete-preconditions",
    "09-suspend-resume",
    "15-ttl-after-finished",
    "18-stuck-pods",
)

# Requests within milliseconds of an orphaning DELETE: whether the collector has been quicker differs from run
# to run (in 07a the second DELETE found nothing, in 07f it did).
RACES = {
    (scenario, entry)
    for scenario in ("07a-delete-default", "07d-delete-orphan", "07f-delete-empty-deleteoptions")
    for entry in (6, 7)
}

# The resumption was sent 0.2 s before the count of terminating pods was due: on a busy machine it is later.
UNTIMED = {"09-suspend-resume"}

# Where the stand-in refuses too, with a shorter reason (docs/devcluster.md).
SHORTER = {("06-not-found-and-invalid", 35), ("06-not-found-and-invalid", 40)}

# Duplicate keys in JSON are not noticed (docs/devcluster.md); the body of 41 is not in the recording.
LEFT_OUT = {("06-not-found-and-invalid", 33), ("06-not-found-and-invalid", 41)}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Replay]:
    """All recordings at once, each in a namespace of its own: as long as the longest takes (35 s)."""
    cluster = DevCluster.start(tmp_path_factory.mktemp("replay"))
    found: dict[str, Replay] = {}
    failures: list[BaseException] = []

    def play(scenario: str) -> None:
        try:
            found[scenario] = Player(cluster, scenario).play()
        except BaseException as error:  # noqa: BLE001 - handed to the tests below
            failures.append(error)

    threads = [threading.Thread(target=play, args=(scenario,)) for scenario in SCENARIOS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.stop()
    if failures:
        raise failures[0]
    return found


def watches(played: dict[str, Replay], scenario: str, resource: str) -> list[tuple[Any, Any]]:
    """(recorded events, our events) of the scenario's watches of the resource."""
    done = played[scenario]
    return [
        (replay.events_of(entry), done.events[entry["id"]])
        for entry in done.entries
        if replay.is_watch(entry) and entry["request"]["path"].endswith(f"/{resource}")
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_requests_get_the_recorded_answers(played: dict[str, Replay], scenario: str) -> None:
    done = played[scenario]
    for entry in done.entries:
        key = (scenario, entry["id"])
        if replay.is_watch(entry) or key in RACES | LEFT_OUT:
            continue
        recorded, ours = entry["response"], done.answers[entry["id"]]
        assert ours.status == recorded["status"], f"entry {entry['id']}: {ours.text}"
        assert replay.warnings(recorded) == sorted(ours.headers.get_all("Warning") or [])
        body = recorded.get("body")
        if isinstance(body, dict) and body.get("kind") == "Status":
            expected, found = replay.plain(body, scenario), replay.plain(ours.json(), scenario)
            if key in SHORTER:
                assert found["reason"] == expected["reason"]
            else:
                assert found == expected, f"entry {entry['id']}"


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_objects_go_through_the_recorded_states(
    played: dict[str, Replay], scenario: str, resource: str
) -> None:
    for recorded, ours in watches(played, scenario, resource):
        is_untimed = scenario in UNTIMED
        expected = replay.histories(recorded, scenario, is_untimed)
        found = replay.histories(ours, scenario, is_untimed)
        assert found.keys() == expected.keys()
        for name, steps in expected.items():
            # A pod that is stuck goes on repeating itself after the recording's end.
            shown = found[name][: len(steps)] if steps[-1].get("phase") == "Pending" else found[name]
            assert shown == steps, name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_events_tell_the_recorded_story(played: dict[str, Replay], scenario: str) -> None:
    for recorded, ours in watches(played, scenario, "events"):
        expected, found = replay.told(recorded, scenario), replay.told(ours, scenario)
        assert found.keys() == expected.keys()
        for name, texts in expected.items():
            assert found[name] == texts, name
