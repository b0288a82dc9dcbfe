"""Cancelling, against the stand-in cluster: the Job is deleted, the log kept, and races end in the truth."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from builds import actions, cancellation, logs, record, sync
from builds.actions import CancelOutcome
from builds.kube import Cluster, ClusterUnreachable
from builds.models import Access, Build, BuildEvent, BuildLog, OutgoingEvent, Scope
from builds.states import Status
from tests.cluster import NAMESPACE, DevCluster
from tests.processes import wait_until

pytestmark = pytest.mark.django_db

ANN = Access(actor="ann", key="user:1", scopes=frozenset(Scope.values), third_party_ids=None)
LONG = {"run-seconds": 60, "schedule-seconds": 0, "pull-seconds": 0.05, "log-lines": 600, "term-seconds": 0.1}


def a_name() -> str:
    return f"build-acme-orders-{uuid4().hex[:8]}"


def seen(gateway: Cluster, name: str) -> Build:
    """The build of that Job, as the cluster shows it now."""
    job = gateway.get(NAMESPACE, name)
    assert job is not None
    return record.apply(job, source="list")


@pytest.fixture
def running(devcluster: DevCluster, gateway: Cluster) -> Build:
    name = a_name()
    devcluster.create_job(name, sim=LONG)
    devcluster.wait_for_pod(name)
    wait_until(lambda: seen(gateway, name).status == Status.RUNNING, 5, "the build runs")
    return Build.objects.get(name=name)


def wish(build: Build, reason: str = "") -> actions.CancelAnswer:
    """The wish alone: no worker is there, and nobody waits."""
    return actions.cancel(build, by=ANN, reason=reason, wait_s=0)


def test_carrying_out(devcluster: DevCluster, gateway: Cluster, running: Build) -> None:
    printed = wait_until(lambda: logs.read(gateway, running).text, 5, "the pod has printed something")
    answer = wish(running, "wrong branch")
    assert (answer.outcome, answer.previous_status) == (CancelOutcome.STARTED, "running")
    done = cancellation.carry_out(running.pk, gateway)
    assert done is not None
    assert done.status == Status.CANCELLED
    assert devcluster.get_job(running.name) is None
    done = Build.objects.select_related("cancellation", "log").get(pk=running.pk)
    receipt = done.cancellation
    assert (receipt.requested_by, receipt.reason, receipt.job_outcome) == ("ann", "wrong branch", "deleted")
    assert (receipt.previous_status, receipt.pods_outcome) == ("running", "terminating")
    assert receipt.confirmed_at == done.completed_at == done.gone_at
    assert done.log.text.startswith(printed)
    assert devcluster.job_gone(running.name)
    cancellation.look_for_pods(running.pk, gateway)
    receipt.refresh_from_db()
    assert (receipt.pods_outcome, receipt.next_look_at) == ("gone", None)
    told = [(event.to_status, event.actor) for event in done.events.filter(type=BuildEvent.Type.TRANSITION)]
    assert told[-2:] == [("cancelling", "ann"), ("cancelled", "ann")]


def test_a_second_try_changes_nothing(gateway: Cluster, running: Build) -> None:
    wish(running)
    cancellation.carry_out(running.pk, gateway)
    before = Build.objects.filter(pk=running.pk).values().get()
    cancellation.carry_out(running.pk, gateway)
    assert Build.objects.filter(pk=running.pk).values().get() == before
    assert wish(Build.objects.get(pk=running.pk)).outcome == CancelOutcome.ALREADY_FINISHED


def test_a_pending_build_can_be_cancelled(devcluster: DevCluster, gateway: Cluster) -> None:
    name = a_name()
    devcluster.create_job(name, sim={"unschedulable": "0/3 nodes are available"})
    build = seen(gateway, name)
    assert build.status == Status.PENDING
    wish(build)
    cancellation.carry_out(build.pk, gateway)
    build.refresh_from_db()
    assert (build.status, build.duration) == (Status.CANCELLED, None)


def test_the_job_finished_first(devcluster: DevCluster, gateway: Cluster) -> None:
    name = a_name()
    devcluster.create_job(name, sim={"run-seconds": 0.2, "schedule-seconds": 0, "pull-seconds": 0})
    build = seen(gateway, name)
    devcluster.wait_for_condition(name, "Complete")
    assert wish(build).outcome == CancelOutcome.STARTED
    cancellation.carry_out(build.pk, gateway)
    build.refresh_from_db()
    assert build.status == Status.SUCCEEDED
    assert devcluster.get_job(name) is not None, "a finished Job is not deleted"
    assert build.cancellation.confirmed_at is None


def test_somebody_else_deleted_it(devcluster: DevCluster, gateway: Cluster, running: Build) -> None:
    wish(running)
    devcluster.delete_job(running.name)
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert (running.status, running.cancellation.job_outcome) == (Status.CANCELLED, "already_gone")


def test_a_404_after_an_own_delete_whose_answer_was_lost_is_deleted(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    wish(running)
    cancellation._note_sending(running.cancellation, running.cancellation.requested_at)
    devcluster.delete_job(running.name)
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert (running.status, running.cancellation.job_outcome) == (Status.CANCELLED, "deleted")


def test_the_name_belongs_to_another_job_by_now(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    wish(running)
    devcluster.delete_job(running.name)
    wait_until(lambda: devcluster.get_job(running.name) is None, 5, "the Job is gone")
    devcluster.create_job(running.name, sim=LONG)
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert running.status == Status.CANCELLED
    assert devcluster.get_job(running.name) is not None, "the new attempt is left alone"


class Interfering(Cluster):
    """The real gateway, except that something happens in the cluster just before the first DELETE."""

    def interfere(self, with_what: Callable[[], Any]) -> "Interfering":
        self._first = [with_what]
        return self

    def delete_job(self, *args: Any, **kwargs: Any) -> None:
        while self._first:
            self._first.pop()()
        super().delete_job(*args, **kwargs)


def interfering(gateway: Cluster, with_what: Callable[[], Any]) -> Interfering:
    return Interfering(gateway._transport, gateway._config).interfere(with_what)


def test_a_job_that_changes_before_the_delete_is_read_again(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    def edit() -> None:
        devcluster.ok(
            "PATCH",
            f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{running.name}",
            body={"metadata": {"labels": {"edited": "yes"}}},
            content_type="application/merge-patch+json",
        )

    wish(running)
    cancellation.carry_out(running.pk, interfering(gateway, edit))
    running.refresh_from_db()
    assert (running.status, running.cancellation.job_outcome) == (Status.CANCELLED, "deleted")


def test_a_job_that_finishes_before_the_delete_is_kept(devcluster: DevCluster, gateway: Cluster) -> None:
    name = a_name()
    devcluster.create_job(name, sim={"run-seconds": 2, "schedule-seconds": 0, "pull-seconds": 0})
    devcluster.wait_for_pod(name)
    wait_until(lambda: seen(gateway, name).status == Status.RUNNING, 5, "the build runs")
    build = Build.objects.get(name=name)
    wish(build)
    cancellation.carry_out(
        build.pk, interfering(gateway, lambda: devcluster.wait_for_condition(name, "Complete"))
    )
    build.refresh_from_db()
    assert build.status == Status.SUCCEEDED
    assert devcluster.get_job(name) is not None


def test_a_job_deleted_by_somebody_just_before_the_delete_is_already_gone(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    wish(running)
    cancellation.carry_out(running.pk, interfering(gateway, lambda: devcluster.delete_job(running.name)))
    running.refresh_from_db()
    assert (running.status, running.cancellation.job_outcome) == (Status.CANCELLED, "already_gone")


def test_a_job_held_by_a_finalizer_is_not_called_cancelled(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    def finalizers(names: list[str]) -> None:
        devcluster.ok(
            "PATCH",
            f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{running.name}",
            body={"metadata": {"finalizers": names}},
            content_type="application/merge-patch+json",
        )

    finalizers(["example.com/hold"])
    wish(running)
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert running.status == Status.CANCELLING
    finalizers([])
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert (running.status, running.cancellation.job_outcome) == (Status.CANCELLED, "deleted")


def test_an_unreachable_cluster_concludes_nothing(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    class Unreachable(Interfering):
        def get(self, *_: Any, **__: Any) -> Any:
            raise ClusterUnreachable("cannot get jobs: connection refused")

    wish(running)
    with pytest.raises(ClusterUnreachable) as unreachable:
        cancellation.carry_out(running.pk, Unreachable(gateway._transport, gateway._config))
    cancellation.postpone(running.pk, unreachable.value)
    running.refresh_from_db()
    assert running.status == Status.CANCELLING
    assert "refused" in running.cancellation.last_error
    cancellation.carry_out(running.pk, gateway)
    running.refresh_from_db()
    assert running.status == Status.CANCELLED


def test_a_log_that_cannot_be_read_does_not_save_the_build(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    class Mute(Interfering):
        def read_log(self, *_: Any, **__: Any) -> bytes:
            raise ClusterUnreachable("cannot get pods/log: timed out")

    wish(running)
    cancellation.carry_out(running.pk, Mute(gateway._transport, gateway._config).interfere(lambda: None))
    running.refresh_from_db()
    assert running.status == Status.CANCELLED
    assert BuildLog.objects.get(build=running).next_try_at is not None


def test_a_pod_on_a_lost_node_stays_terminating(devcluster: DevCluster, gateway: Cluster) -> None:
    name = a_name()
    devcluster.create_job(name, sim=LONG | {"lost-after-seconds": 0.2})
    devcluster.wait_for_pod(name)
    build = seen(gateway, name)
    wish(build)
    cancellation.carry_out(build.pk, gateway)
    cancellation.look_for_pods(build.pk, gateway)
    build.refresh_from_db()
    assert (build.status, build.cancellation.pods_outcome) == (Status.CANCELLED, "terminating")
    assert build.cancellation.next_look_at is not None
    for pod in devcluster.pods(name):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
        devcluster.request("DELETE", path, query={"gracePeriodSeconds": 0})


def test_one_cloud_event_tells_of_it(settings: Settings, gateway: Cluster, running: Build) -> None:
    settings.EVENT_SINK = "http://127.0.0.1:9/nobody"
    wish(running, "no longer needed")
    cancellation.carry_out(running.pk, gateway)
    cancellation.carry_out(running.pk, gateway)
    told = OutgoingEvent.objects.get(build=running)
    assert told.type == "io.knative.lambda.lifecycle.build.cancelled"
    assert told.data["buildId"] == running.name


def test_a_deletion_that_the_watch_sees_is_left_to_the_cancellation(
    devcluster: DevCluster, gateway: Cluster, running: Build
) -> None:
    wish(running)
    devcluster.delete_job(running.name)
    due = sync.Due()
    running.refresh_from_db()
    sync._confirm_gone(gateway, running, due, was_seen=True, source="watch")
    assert due.cancellations == {running.pk}
    assert Build.objects.get(pk=running.pk).status == Status.CANCELLING


@pytest.mark.django_db(transaction=True)
def test_of_twenty_concurrent_calls_one_starts_it(gateway: Cluster, running: Build) -> None:
    outcomes: list[CancelOutcome] = []
    barrier = threading.Barrier(20)

    def call(mine: Build) -> None:
        barrier.wait(10)
        outcomes.append(wish(mine).outcome)
        connection.close()

    # Read beforehand: twenty callers that wait with a connection each would empty the pool.
    builds = [Build.objects.get(pk=running.pk) for _ in range(20)]
    threads = [threading.Thread(target=call, args=(build,)) for build in builds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcome.value for outcome in outcomes) == ["already_cancelling"] * 19 + ["started"]
    assert BuildEvent.objects.filter(build=running, to_status=Status.CANCELLING).count() == 1


def test_one_worker_at_a_time(running: Build) -> None:
    wish(running)
    assert cancellation.take(running.pk), "a fresh wish is free at once"
    assert not cancellation.take(running.pk), "until the lease is over"
    cancellation.postpone(running.pk, ClusterUnreachable("no connection"))
    running.cancellation.refresh_from_db()
    assert running.cancellation.next_try_at < running.cancellation.requested_at + cancellation.LEASE


def test_there_is_nothing_to_take_without_an_open_wish(gateway: Cluster, running: Build) -> None:
    assert not cancellation.take(running.pk)
    wish(running)
    cancellation.carry_out(running.pk, gateway)
    assert not cancellation.take(running.pk)
