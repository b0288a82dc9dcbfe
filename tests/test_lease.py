"""The lease of the watchers: one leads, another follows it soon after its end, and two would do no harm."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from builds import lease, sync
from builds.kube import Cluster, ClusterConfig
from builds.lease import Term, TermOver
from builds.models import Build, BuildEvent, WatchLease
from builds.states import Status
from tests.cluster import NAMESPACE, DevCluster
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db

TAKEN_OVER_WITHIN_S = 15
SHORT = {"run-seconds": 0.5, "schedule-seconds": 0, "pull-seconds": 0, "log-lines": 5}


def taken(holder: str = "one") -> Term:
    term = lease.take(holder)
    assert term is not None
    return term


def run_out() -> None:
    """As if the holder had not renewed for a while, by the database's clock."""
    WatchLease.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))


def test_one_at_a_time() -> None:
    term = taken("one")
    assert lease.take("two") is None
    assert lease.take("one") is None, "not even the same holder twice: its first term goes on"
    assert lease.leader() == "one"
    term.check()


def test_a_renewed_term_outlasts_the_first_grant() -> None:
    term = taken()
    WatchLease.objects.update(expires_at=datetime.now(UTC) + timedelta(seconds=1))
    assert term.renew()
    left = WatchLease.objects.get().expires_at
    assert left is not None
    assert left > datetime.now(UTC) + timedelta(seconds=lease.LEASE_S / 2)


def test_a_lease_that_has_run_out_is_taken_with_a_higher_fence() -> None:
    old = taken("one")
    run_out()
    new = taken("two")
    assert new.fence > old.fence
    with pytest.raises(TermOver):
        old.check()
    assert old.is_set(), "what the database said is remembered"
    assert not old.renew()
    new.check()


def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    old = taken("one")
    old.give_back()
    assert (old.is_set(), lease.leader()) == (True, "")
    assert taken("two").fence > old.fence


def test_giving_back_late_takes_nothing_from_the_next_holder() -> None:
    old = taken("one")
    run_out()
    new = taken("two")
    old.give_back()
    assert lease.leader() == "two"
    new.check()


def test_a_term_that_was_not_renewed_is_over_without_asking_anybody() -> None:
    fence = taken().fence
    frozen = Term(fence, time.monotonic() - lease.LEASE_S)
    assert frozen.is_set()
    assert not frozen.renew(), "it may have been taken and given back meanwhile"
    with pytest.raises(TermOver):
        frozen.check()


@transaction.atomic
def freeze_in_a_transaction(for_s: float) -> None:
    WatchLease.objects.update(holder="frozen")
    time.sleep(for_s)
    WatchLease.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_server_frees_what_a_frozen_process_holds() -> None:
    term = taken()
    lease.free_what_a_frozen_process_holds(after_s=0.2)
    if connection.vendor == "sqlite":
        term.check()  # there is no server: nothing but the lease itself runs out
        return
    with pytest.raises(DatabaseError, match="idle-in-transaction"):
        freeze_in_a_transaction(1)
    connection.close()
    assert lease.leader() == "one"


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_wins() -> None:
    terms: list[Term | None] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait(10)
        terms.append(lease.take(threading.current_thread().name))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(terms) == 8
    assert sum(term is not None for term in terms) == 1


def test_who_was_overtaken_records_nothing(devcluster: DevCluster, gateway: Cluster) -> None:
    devcluster.create_job(a_name(), sim=SHORT)
    term = taken("one")
    WatchLease.objects.update(holder="two", fence=term.fence + 1)
    with pytest.raises(TermOver):
        for _ in sync.follow(gateway, NAMESPACE, stop=threading.Event(), fence=term.check):
            pass
    assert not Build.objects.exists()


# --- Processes ----------------------------------------------------------------------------------------------


def a_name() -> str:
    return f"build-acme-orders-{uuid4().hex[:8]}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DevCluster]:
    cluster = DevCluster.start(tmp_path / "cluster")
    yield cluster
    cluster.stop()


def leader_of(watchers: list[Process], *, not_: Process | None = None, within_s: float = 20) -> Process:
    """The watcher that holds the lease, once one other than `not_` does."""

    def found() -> list[Process]:
        number = lease.leader().split("/")[1:2]
        return [one for one in watchers if one is not not_ and [str(one.pid)] == number]

    return wait_until(found, within_s, "a watcher leads")[0]


def assert_followed(cluster: DevCluster) -> None:
    """A new Job is seen from its beginning to its end, and each step of it once."""
    name = a_name()
    cluster.create_job(name, sim=SHORT)
    wait_until(Build.objects.filter(name=name, status=Status.SUCCEEDED).exists, 15, f"{name} is followed")
    assert_told_once(name)


def assert_told_once(name: str) -> None:
    events = BuildEvent.objects.filter(build__name=name, type=BuildEvent.Type.TRANSITION)
    told = list(events.values_list("from_status", "to_status"))
    assert told[0][0] is None
    assert [before for before, _ in told[1:]] == [after for _, after in told[:-1]]
    assert told[-1][1] == Status.SUCCEEDED


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(150)
def test_another_watcher_takes_over(cluster: DevCluster, process_environment: dict[str, str]) -> None:
    environment = process_environment | {"KUBECONFIG": str(cluster.kubeconfig)}
    with ExitStack() as stack:
        watchers = [stack.enter_context(Process.manage("watch_builds", env=environment)) for _ in range(4)]
        killed = leader_of(watchers)
        for standby in watchers:
            if standby is not killed:
                standby.wait_for_output("standing by")
        assert_followed(cluster)
        assert sum('"leading"' in one.output for one in watchers) == 1

        killed.kill()
        frozen = leader_of(watchers, not_=killed, within_s=TAKEN_OVER_WITHIN_S)
        assert_followed(cluster)

        if connection.vendor == "sqlite":
            time.sleep(1)  # stopped in the middle of writing, it would stop all others too
        frozen.send(signal.SIGSTOP)
        ended = leader_of(watchers, not_=frozen, within_s=TAKEN_OVER_WITHIN_S)
        assert_followed(cluster)
        fence = WatchLease.objects.get().fence
        frozen.send(signal.SIGCONT)
        frozen.wait_for_output("no longer leading")
        assert_followed(cluster)
        assert WatchLease.objects.get().fence == fence, "the lease stays where it is"

        begun = time.monotonic()
        assert ended.terminate() == 0
        leader_of(watchers, not_=ended, within_s=5)
        assert time.monotonic() - begun < lease.LEASE_S / 2 + 1, "it was given back, and did not run out"
        assert_followed(cluster)


@pytest.mark.django_db(transaction=True)
def test_two_that_follow_at_once_do_no_harm(cluster: DevCluster) -> None:
    """Neither is stopped by its fence, as between a freeze and its discovery."""
    stop = threading.Event()
    taken_in: list[str] = []
    failed: list[BaseException] = []

    def note_that_i_follow() -> None:
        taken_in.append(threading.current_thread().name)

    def run() -> None:
        gateway = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=cluster.kubeconfig))
        try:
            for _ in sync.follow(gateway, NAMESPACE, stop=stop, fence=note_that_i_follow):
                pass
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connection.close()
            gateway.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(set(taken_in)) == 2, 10, "both follow")
    before = len(taken_in)
    names = [a_name() for _ in range(6)]
    for name in names:
        cluster.create_job(name, sim=SHORT)
    ended = Build.objects.filter(name__in=names, status=Status.SUCCEEDED)
    try:
        wait_until(lambda: ended.count() == len(names), 30, "both have seen all")
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not failed
    assert len(set(taken_in[before:])) == 2, "both took part"
    assert Build.objects.count() == len(names)
    for name in names:
        assert_told_once(name)
