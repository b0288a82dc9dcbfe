"""A working day's builds, in every state, with logs and history; rows only."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from builds.models import Build, BuildEvent, BuildLog, Cancellation
from builds.states import Reason, Status
from tests.builders import make_build

_LOG = """\
\x1b[36mINFO\x1b[0m[0000] Resolved base name node:22-alpine to builder
\x1b[36mINFO\x1b[0m[0000] Retrieving image manifest node:22-alpine
\x1b[36mINFO\x1b[0m[0003] Built cross stage deps: map[0:[/app/node_modules]]
\x1b[36mINFO\x1b[0m[0003] COPY package.json package-lock.json ./
\x1b[36mINFO\x1b[0m[0004] RUN npm ci --omit=dev
\x1b[36mINFO\x1b[0m[0004] Running: [/bin/sh -c npm ci --omit=dev]

added 214 packages, and audited 215 packages in 9s

\x1b[36mINFO\x1b[0m[0015] Taking snapshot of full filesystem...
\x1b[36mINFO\x1b[0m[0019] COPY parser/ ./parser/
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The builds that the walks go to."""

    running: Build
    failed: Build
    cancelled: Build


def _build(customer: str, parser: str, digest: str, minutes_ago: float, **over: Any) -> Build:
    """A build in the portal's own way of naming."""
    created_at = timezone.now() - timedelta(minutes=minutes_ago)
    return make_build(
        name=f"build-{customer}-{parser}-{digest}",
        third_party_id=customer,
        parser_id=parser,
        image_uri=f"registry.example/knative-lambdas:{customer}-{parser}-{digest}",
        correlation_id=f"req-{digest}",
        created_at=created_at,
        **over,
    )


def _ended(minutes_ago: float, took_s: int) -> dict[str, Any]:
    created_at = timezone.now() - timedelta(minutes=minutes_ago)
    return {
        "started_at": created_at + timedelta(seconds=4),
        "completed_at": created_at + timedelta(seconds=4 + took_s),
    }


def set_the_scene() -> Scene:
    """Builds of a dozen customers, newest last made."""
    rows: list[tuple[str, str, str, Status, Reason | None, int]] = [
        ("meridian-bank", "statements", "90fd12", Status.SUCCEEDED, None, 96),
        ("halcyon-energy", "meter-feed", "77ab40", Status.SUCCEEDED, None, 143),
        ("northwind", "invoice-xml", "c0ffee", Status.FAILED, Reason.TIMEOUT, 900),
        ("orchid-health", "claims-edi", "1b2c3d", Status.SUCCEEDED, None, 71),
        ("blue-harbor", "customs", "f00d11", Status.SUCCEEDED, None, 388),
        ("meridian-bank", "cards", "3e4f5a", Status.SUCCEEDED, None, 64),
        ("tessera-retail", "price-list", "ab12cd", Status.FAILED, Reason.IMAGE_PULL, 31),
        ("halcyon-energy", "tariffs", "5566aa", Status.SUCCEEDED, None, 52),
        ("quarry-logistics", "manifests", "9e8d7c", Status.SUCCEEDED, None, 187),
    ]
    messages = {
        Reason.TIMEOUT: "Job was active longer than specified deadline",
        Reason.IMAGE_PULL: 'Back-off pulling image "registry.example/kaniko-executor:v9.9"',
    }
    for position, (customer, parser, digest, status, reason, took_s) in enumerate(rows):
        minutes = 240 - position * 22
        message = messages.get(reason) if reason else None
        _build(
            customer,
            parser,
            digest,
            minutes,
            status=status,
            status_reason=reason,
            error_message=message,
            **_ended(minutes, took_s),
        )
    cancelled = _cancelled()
    failed = _failed()
    _build("quarry-logistics", "routes", "0a0b0c", 6, status=Status.SUCCEEDED, **_ended(6, 118))
    _build("tessera-retail", "price-list", "ab12ce", 4, status=Status.CANCELLING)
    running = _running()
    _build("blue-harbor", "tariff-codes", "d1ce05", 1.2, status=Status.RUNNING, status_reason=Reason.RETRYING)
    _build("northwind", "invoice-xml", "c0ffef", 0.6, status=Status.PENDING, status_reason=Reason.UNSCHEDULED)
    _build("orchid-health", "claims-edi", "1b2c3e", 0.2, status=Status.PENDING, status_reason=Reason.PULLING)
    return Scene(running=running, failed=failed, cancelled=cancelled)


def _running() -> Build:
    build = _build("meridian-bank", "statements", "90fd13", 3.4, status=Status.PENDING)
    moment = build.created_at
    _told(build, "SuccessfulCreate", "Created pod: " + build.name + "-x7k2p", "job-controller", moment)
    _told(
        build,
        "Scheduled",
        "Successfully assigned to node-1",
        "default-scheduler",
        moment + timedelta(seconds=1),
    )
    _told(build, "Started", "Started container kaniko", "kubelet", moment + timedelta(seconds=5))
    assert build.move_to(
        Status.RUNNING, source="watch", started_at=moment + timedelta(seconds=5), job=_running_job(build)
    )
    BuildEvent.objects.filter(build=build, to_status=Status.RUNNING).update(
        timestamp=moment + timedelta(seconds=5)
    )
    BuildLog.objects.create(build=build, text=_LOG, as_of=timezone.now() - timedelta(seconds=3))
    return build


def _running_job(build: Build) -> dict[str, Any]:
    assert build.job is not None
    job: dict[str, Any] = build.job
    job["pods"][0] |= {"phase": "Running"}
    job["pods"][0]["containers"] = [
        {"name": "kaniko", "state": "running", "reason": None, "exit_code": None, "restarts": 0},
        {"name": "log-shipper", "state": "running", "reason": None, "exit_code": None, "restarts": 0},
    ]
    return job


def _failed() -> Build:
    build = _build(
        "northwind",
        "invoice-xml",
        "c0ffed",
        9,
        status=Status.FAILED,
        status_reason=Reason.OOM_KILLED,
        error_code="oom_killed",
        error_message="The container kaniko used more than its limit of 2Gi of memory.",
        error_container="kaniko",
        error_exit_code=137,
        **_ended(9, 203),
    )
    _told(
        build,
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
        "job-controller",
        build.completed_at,
        "Warning",
    )
    BuildLog.objects.create(build=build, text=_LOG, as_of=build.completed_at, is_final=True)
    return build


def _cancelled() -> Build:
    build = _build("halcyon-energy", "meter-feed", "77ab41", 31, status=Status.RUNNING)
    moment = build.created_at + timedelta(minutes=3)
    Cancellation.objects.create(
        build=build,
        requested_at=moment,
        requested_by="maria",
        reason="Started by mistake: the parser was still in review",
        previous_status=Status.RUNNING,
        next_try_at=moment,
        delete_sent_at=moment,
        confirmed_at=moment + timedelta(seconds=1),
        job_outcome=Cancellation.JobOutcome.DELETED,
        pods_outcome=Cancellation.PodsOutcome.GONE,
    )
    assert build.move_to(Status.CANCELLING, source="console", actor="maria", message="Started by mistake")
    assert build.move_to(
        Status.CANCELLED, source="worker", completed_at=moment + timedelta(seconds=1), gone_at=moment
    )
    BuildLog.objects.create(build=build, text=_LOG, as_of=moment, is_final=True)
    return build


def _told(build: Build, reason: str, message: str, source: str, at: Any, type_: str = "Normal") -> None:
    BuildEvent.objects.create(
        build=build, type=type_, reason=reason, message=message, source=source, timestamp=at
    )
