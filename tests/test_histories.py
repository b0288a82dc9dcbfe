"""Random histories of clusters, watches, workers and calls, all interleaved, and what holds in every one.

100 of them; `make test-long` sets HISTORIES for a night's worth.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import pytest
import time_machine
from django.db import connection, transaction
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import SearchStrategy
from pytest_django.fixtures import Settings

from builds import actions, cancellation, facts, kube, sync
from builds.kube import ClusterError, ClusterUnreachable, JobSnapshot
from builds.models import Access, Build, BuildEvent, Cancellation, OutgoingEvent, Scope
from builds.states import CANCELLABLE, EDGES, FINISHED, Status
from tests.cluster_model import NAMESPACE, ModelCluster, is_decided
from tests.model_watch import Watch
from tests.snapshots import T0

HISTORIES = int(os.environ.get("HISTORIES", "100"))
STEPS = 40
ANN = Access(actor="ann", key="user:1", scopes=frozenset(Scope.values), third_party_ids=None)
NAMES = ("build-acme-orders-0a1b2c", "build-acme-stock-1b2c3d", "build-umbra-mail-2c3d4e")
WORKERS_LEASE_S = cancellation.LEASE.total_seconds() + 1


class Killed(BaseException):
    """The end of a process, wherever it was."""


# --- What can happen ----------------------------------------------------------------------------------------

IN_THE_CLUSTER: dict[str, Callable[[ModelCluster, str], None]] = {
    "created": lambda cluster, name: cluster.create(name),
    "created, suspended": lambda cluster, name: cluster.create(name, is_suspended=True),
    "created, with a retry": lambda cluster, name: cluster.create(name, retries=1),
    "created anew": ModelCluster.recreate,
    "goes on": ModelCluster.go_on,
    "goes on, or fails": lambda cluster, name: cluster.go_on(name, 1),
    "runs to its end": lambda cluster, name: cluster.go_on(name, steps=6),
    "fails to its end": lambda cluster, name: cluster.go_on(name, 1, steps=9),
    "passes its deadline": ModelCluster.pass_deadline,
    "suspended or resumed": ModelCluster.suspend,
    "label edited": ModelCluster.unselect,
    "held or let go by a finalizer": ModelCluster.hold,
    "deleted": lambda cluster, name: cluster.delete(name, "Background"),
    "deleted in the foreground": lambda cluster, name: cluster.delete(name, "Foreground"),
    "deleted, pods kept": lambda cluster, name: cluster.delete(name, "Orphan"),
    "expired": ModelCluster.expire,
    "node lost": ModelCluster.lose_node,
    "pods end": lambda cluster, _: cluster.end_pods(),
}
IN_THE_PORTAL = ("watch", "reconcile", "work", "cancel", "time passes")
TO_THE_CALL = ("unreachable", "killed")
# What a cancellation may lose a race against, or to.
RACING = (
    *("runs to its end", "fails to its end", "passes its deadline", "expired"),
    *("deleted", "created anew", "suspended or resumed", "held or let go by a finalizer", "watch"),
)
# What makes a Job look as if it were gone, or makes it so.
VANISHING = (
    "label edited",
    "label edited",
    "deleted",
    "deleted in the foreground",
    "created anew",
    "expired",
)


@dataclass(frozen=True)
class Meanwhile:
    """What happens just before or after the n-th call to the cluster of an operation; without a name, to the
    Job that the operation is about.
    """

    call: int
    when: Literal["before", "after"]
    what: str
    name: str


names = strategies.sampled_from(NAMES)


def plans(
    what: Iterable[str], names: SearchStrategy[str], *, last_call: int = 7, least: int = 0
) -> SearchStrategy[list[Meanwhile]]:
    """Some of these things, anywhere in an operation."""
    one = strategies.builds(
        Meanwhile,
        call=strategies.sampled_from(range(last_call + 1)),
        when=strategies.sampled_from(("before", "after")),
        what=strategies.sampled_from(tuple(what)),
        name=names,
    )
    return strategies.lists(one, min_size=least, max_size=3)


at_hand = strategies.just("")
meanwhiles = plans((*TO_THE_CALL, *TO_THE_CALL, *IN_THE_PORTAL, *IN_THE_CLUSTER), names)
races = plans((*TO_THE_CALL, *RACING), at_hand, last_call=4, least=1)
failures = plans((*["unreachable"] * 3, "killed", "created anew"), at_hand, last_call=2, least=1)
# What has become of a Job before anybody looks.
beginnings = strategies.sampled_from(
    (
        ("created",),
        ("created", "goes on", "goes on", "goes on"),
        ("created, with a retry", "goes on", "goes on", "goes on"),
        ("created, suspended", "goes on"),
        (),
    )
)
# After so many writing statements the process is killed.
deaths = strategies.sampled_from((*[None] * 8, *range(7)))


class Histories(RuleBasedStateMachine):
    """One cluster, two watchers, and workers that come and go."""

    @initialize(stories=strategies.lists(beginnings, min_size=len(NAMES), max_size=len(NAMES)))
    def begin(self, stories: list[tuple[str, ...]]) -> None:
        self.clock = time_machine.travel(T0 + timedelta(minutes=1), tick=False)
        self.now = self.clock.start()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.cluster = ModelCluster()
        self.cluster.interruption = self._call
        self.plan: list[Meanwhile] = []
        self.calls = 0
        self.watches = [Watch(self.cluster) for _ in range(2)]
        self.known: dict[int, tuple[Any, ...]] = {}
        self.at_hand = NAMES[0]
        for name, story in zip(NAMES, stories, strict=True):
            for what in story:
                IN_THE_CLUSTER[what](self.cluster, name)
        self.reconcile()
        self.nothing_is_wrong()

    def teardown(self) -> None:
        if not hasattr(self, "undo"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.settle()
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)
            self.clock.stop()

    # --- Steps ----------------------------------------------------------------------------------------------

    @rule(name=names, what=strategies.sampled_from(sorted(IN_THE_CLUSTER)))
    def in_the_cluster(self, name: str, what: str) -> None:
        IN_THE_CLUSTER[what](self.cluster, name)

    @rule(name=names, what=strategies.sampled_from(("created", "goes on", "runs to its end")))
    def as_usual(self, name: str, what: str) -> None:
        IN_THE_CLUSTER[what](self.cluster, name)

    @rule(
        number=strategies.integers(0, 1),
        jobs=strategies.integers(0, 8),
        pods=strategies.integers(0, 8),
        together=strategies.integers(1, 9),
        plan=meanwhiles,
        death=deaths,
    )
    def watch(
        self,
        number: int,
        jobs: int,
        pods: int,
        together: int = 1,
        plan: list[Meanwhile] | None = None,
        death: int | None = None,
    ) -> None:
        """One watcher catches up with some of what has happened, so many changes at a time."""
        one = self.watches[number]
        with self._process(plan, death) as ended:
            with suppress(ClusterError):
                one.read(jobs, pods)
            one.told.append(kube.Heartbeat(connected=True, complete=True))
            while one.told:
                changes = [one.told.popleft() for _ in range(min(together, len(one.told)))]
                for change in changes:
                    self.cluster.handed_out += _jobs_in(change)
                one.follower.take(changes)
                self._note_shown()
        if ended:
            self.watches[number] = Watch(self.cluster)

    @rule(name=names, what=strategies.sampled_from(VANISHING), plan=failures)
    def watch_it_vanish(self, name: str, what: str, plan: list[Meanwhile]) -> None:
        self.watch(1, 99, 99)
        IN_THE_CLUSTER[what](self.cluster, name)
        self.at_hand = name
        self.watch(1, 9, 9, plan=plan)

    @rule(name=names, what=strategies.sampled_from(VANISHING), plan=failures)
    def miss_it_for_a_while(self, name: str, what: str, plan: list[Meanwhile]) -> None:
        """Nobody watches; two lists tell, the second one after the grace time."""
        IN_THE_CLUSTER[what](self.cluster, name)
        self.reconcile()
        self.time_passes(40.0)
        self.at_hand = name
        self.reconcile(plan)

    @rule(number=strategies.integers(0, 1), how=strategies.sampled_from(("expires", "repeats", "restarts")))
    def trouble(self, number: int, how: str) -> None:
        """What happens to a watch: too old, so that changes are lost; told again; its process restarted."""
        if how == "expires":
            self.watches[number].position = None
        elif how == "repeats":
            self.watches[number].go_back(5)
        else:
            self.watches[number] = Watch(self.cluster)

    @rule(plan=meanwhiles, death=deaths)
    def reconcile(self, plan: list[Meanwhile] | None = None, death: int | None = None) -> None:
        with self._process(plan, death), suppress(ClusterError):
            sync.reconcile(self.cluster, NAMESPACE)
            self._note_shown()

    def _those(self, *statuses: Status) -> list[int]:
        return [pk for pk, _, _, status, *_ in self.known.values() if status in statuses]

    @precondition(lambda self: self._those(*CANCELLABLE))
    @rule(number=strategies.integers(0, 5), death=deaths)
    def cancel(self, number: int, death: int | None = None) -> None:
        """A person's wish."""
        for pk in _one_of(self._those(*CANCELLABLE), number):
            with self._process(None, death):
                actions.cancel(Build.objects.get(pk=pk), by=ANN, wait_s=0)

    @precondition(lambda self: self._those(*CANCELLABLE))
    @rule(number=strategies.integers(0, 5), name=names, what=strategies.sampled_from(sorted(IN_THE_CLUSTER)))
    def cancel_what_was_seen_before(self, number: int, name: str, what: str) -> None:
        """The page was open while something happened, and was recorded."""
        for pk in _one_of(self._those(*CANCELLABLE), number):
            build = Build.objects.get(pk=pk)
            IN_THE_CLUSTER[what](self.cluster, name)
            self.watch(0, 8, 8)
            actions.cancel(build, by=ANN, wait_s=0)

    @precondition(lambda self: self._those(*CANCELLABLE))
    @rule(number=strategies.integers(0, 5), plan=races, death=deaths)
    def cancel_and_work(self, number: int, plan: list[Meanwhile], death: int | None) -> None:
        """As with a worker that is nudged at once."""
        (pk,) = _one_of(self._those(*CANCELLABLE), number)
        actions.cancel(Build.objects.get(pk=pk), by=ANN, wait_s=0)
        self._work(pk, plan, death)

    @precondition(lambda self: self._those(Status.CANCELLING))
    @rule(number=strategies.integers(0, 5), plan=races | meanwhiles, death=deaths)
    def work(self, number: int, plan: list[Meanwhile] | None = None, death: int | None = None) -> None:
        """Some worker's try at one wish, later."""
        for pk in _one_of(self._those(Status.CANCELLING), number):
            self._work(pk, plan, death)

    def _work(self, pk: int, plan: list[Meanwhile] | None, death: int | None) -> None:
        """As the task's door does it."""
        self.at_hand = Build.objects.get(pk=pk).name
        with self._process(plan, death):
            if not cancellation.take(pk):
                return
            try:
                cancellation.carry_out(pk, self.cluster)
            except ClusterError as error:
                cancellation.postpone(pk, error)

    @precondition(lambda self: self._those(Status.CANCELLED))
    @rule(plan=meanwhiles)
    def look_for_pods(self, plan: list[Meanwhile] | None = None) -> None:
        for wish in Cancellation.objects.filter(next_look_at__lte=datetime.now(UTC)):
            with self._process(plan, None), suppress(ClusterError):
                cancellation.look_for_pods(wish.build_id, self.cluster)

    @rule(seconds=strategies.sampled_from((1.0, WORKERS_LEASE_S, 40.0)))
    def time_passes(self, seconds: float = WORKERS_LEASE_S) -> None:
        self.now.shift(timedelta(seconds=seconds))

    # --- How a step can be disturbed ------------------------------------------------------------------------

    @contextmanager
    def _process(self, plan: list[Meanwhile] | None, death: int | None) -> Iterator[list[str]]:
        """One process at work, and what happens meanwhile; what it yields holds a word if it died."""
        outer = self.plan, self.calls, self.cluster.handed_out
        mine = self.plan = list(plan or ())
        self.calls, self.cluster.handed_out = 0, []
        ended: list[str] = []
        written = 0

        def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal written
            if self.plan is mine and sql.startswith(("INSERT", "UPDATE")):
                if written == death:
                    raise Killed
                written += 1
            return execute(sql, params, many, context)

        try:
            with connection.execute_wrapper(count):
                yield ended
        except Killed:
            ended.append("killed")
        finally:
            self.plan, self.calls, self.cluster.handed_out = outer

    def _call(self, when: Literal["before", "after"]) -> None:
        """The cluster is being asked something: what is planned for that moment happens."""
        number = self.calls
        self.calls += when == "after"
        for planned in [one for one in self.plan if (one.call, one.when) == (number, when)]:
            self.plan.remove(planned)
            self._happen(planned)

    def _happen(self, planned: Meanwhile) -> None:
        what, name = planned.what, planned.name or self.at_hand
        if what == "unreachable":
            raise ClusterUnreachable("no answer")
        if what == "killed":
            raise Killed
        if what in IN_THE_CLUSTER:
            IN_THE_CLUSTER[what](self.cluster, name)
        elif what == "watch":
            self.watch(1, 8, 8)
        elif what == "reconcile":
            self.reconcile()
        elif what == "work":
            self.work(NAMES.index(name))
        elif what == "cancel":
            self.cancel(NAMES.index(name))
        else:
            self.time_passes()
        self.nothing_is_wrong()

    def _note_shown(self) -> None:
        """What an operation was given and had the time to write down, before it had concluded otherwise."""
        concluded = {uid for _, _, uid, status, *_ in self.known.values() if status in FINISHED}
        for job in self.cluster.handed_out:
            life = self.cluster.lives[job.uid]
            life.is_shown = True
            life.is_outcome_shown |= is_decided(job) and job.uid not in concluded
        self.cluster.handed_out.clear()

    # --- What holds -----------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_wrong(self) -> None:
        if not hasattr(self, "known"):
            return
        assert not self.cluster.wrongs, self.cluster.wrongs
        columns = ("pk", "observed_version", "uid", "status", "status_reason", "version")
        for row in Build.objects.values_list(*columns):
            before = self.known.get(row[0])
            if before == row:
                continue
            self.known[row[0]] = row
            assert row[2] in self.cluster.lives, "a build was invented"
            if before is not None:
                assert before[1] <= row[1], "an older sighting has replaced a newer one"
                assert before[3] not in FINISHED or before[2:5] == row[2:5], "a finished build has changed"
            if row[3] == Status.CANCELLED:
                assert row[2] not in {job.uid for job in self.cluster.jobs.values()}, "its Job is still there"
            told_in_order(row[0], row[3])
        assert len(self.known) == Build.objects.count()

    def settle(self) -> None:
        """The cluster answers, and sweepers and lists come by undisturbed: then the truth is recorded."""
        cluster = self.cluster
        self.plan = []
        for name in NAMES:
            if name in cluster.jobs and cluster.jobs[name].uid in cluster.held:
                cluster.hold(name)
        for _ in range(3):
            cluster.end_pods()
            self.time_passes(61.0)
            self.reconcile()
            self.nothing_is_wrong()
            for number in range(len(self._those(Status.CANCELLING))):
                self.work(number)
            self.nothing_is_wrong()
        cluster.end_pods()
        self.time_passes(3600.0)
        self.look_for_pods()
        builds = {str(build.uid): build for build in Build.objects.select_related("cancellation")}
        for uid, life in cluster.lives.items():
            assert uid in builds or not life.is_shown, f"{uid} was lost"
        for build in builds.values():
            self._is_true(build)

    def _is_true(self, build: Build) -> None:
        life = self.cluster.lives[str(build.uid)]
        job = self.cluster.jobs.get(build.name)
        if job is not None and job.uid != build.uid:
            job = None
        wish = Cancellation.objects.filter(build=build).first()
        what = f"{build.uid} is {build.status} ({build.status_reason}); {life}"
        if life.remover == "portal":
            assert wish is not None, what
            assert wish.job_outcome == "deleted", what
        if build.status == Status.CANCELLED:
            assert wish is not None, what
            assert job is None, what
            assert not life.is_outcome_shown, what
            self._is_cleaned_up(build, wish)
        elif build.status == Status.SUCCEEDED:
            assert life.outcome == "succeeded", what
        elif build.status_reason in ("deleted", "lost"):
            assert job is None, what
            assert life.remover in ("hand", "ttl"), what
            assert not life.is_outcome_shown, what
            if build.status_reason == "deleted":
                assert life.outcome is None or life.was_unselected, what
        elif build.status == Status.FAILED:
            assert life.outcome == "failed", what
        else:
            assert job is not None, what
            assert life.outcome is None, what
            assert wish is None, what
            shows = facts.read(self.cluster.with_its_pods(job)).status
            assert build.status == shows or (build.status, shows) == (Status.RUNNING, Status.PENDING), what

    def _is_cleaned_up(self, build: Build, wish: Cancellation) -> None:
        """A cancelled build's pods are gone but on lost nodes, and the receipt says so."""
        left = self.cluster.pods_now(str(build.uid))
        if not self.cluster.lives[str(build.uid)].was_orphaned:
            assert {pod.uid for pod in left} <= self.cluster.lost_pods
        assert wish.pods_outcome == ("terminating" if left else "gone")
        assert (wish.next_look_at is None) == (not left)


def _one_of(ids: list[int], number: int) -> list[int]:
    """One of them, any number will do; none if there are none."""
    return [ids[number % len(ids)]] if ids else []


def _jobs_in(change: kube.Change) -> list[JobSnapshot]:
    match change:
        case kube.Listed():
            return list(change.jobs)
        case kube.JobChanged() | kube.JobGone():
            return [change.snapshot]
    return []


def told_in_order(build_id: int, status: str) -> None:
    """One history row per transition, each from where the last one led, and what goes out says the same."""
    rows = BuildEvent.objects.filter(build=build_id, type=BuildEvent.Type.TRANSITION).order_by("pk")
    steps = list(rows.values_list("from_status", "to_status"))
    assert steps[0][0] is None
    for (_, reached), (left, target) in pairwise(steps):
        assert left == reached
        assert target in EDGES[Status(str(left))]
    assert steps[-1][1] == status
    words = {"running": "started", "succeeded": "completed", "cancelled": "cancelled"}
    expected = [
        words.get(str(target), "failed") for _, target in steps if target not in ("pending", "cancelling")
    ]
    if steps[0][1] in FINISHED:
        expected = []
    outgoing = (
        OutgoingEvent.objects.filter(build=build_id).order_by("position").values_list("type", flat=True)
    )
    assert [one.rpartition(".")[2].replace("timeout", "failed") for one in outgoing] == expected


@pytest.mark.django_db
@pytest.mark.timeout(420 + HISTORIES)
def test_histories(settings: Settings) -> None:
    settings.EVENT_SINK = "http://127.0.0.1:9/nobody"
    settings.MISSING_GRACE_S = 30
    run_state_machine_as_test(Histories, settings=SETTINGS)


SETTINGS = settings(
    max_examples=HISTORIES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
