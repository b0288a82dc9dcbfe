"""The processes that make up the portal and how each is started; shared with docker-compose.yml by a test."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

WORKER_SLOTS = 4
WEB_PROCESSES = 2
WEB_THREADS = 8


@dataclass(frozen=True)
class Member:
    """One process: its arguments after the interpreter, `{bind}` and `{state_dir}` yet to be filled in."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # What it gets when its supervisor is killed. One with processes of its own needs the time to end them.
    death_signal: int = signal.SIGKILL


def _arguments(line: str) -> tuple[str, ...]:
    return tuple(line.split())


PORTAL = (
    Member(
        "worker",
        _arguments(
            f"-m celery -A buildportal worker --pool threads --concurrency {WORKER_SLOTS} "
            "-Q cancel,sync,logs,default --without-gossip --without-mingle --loglevel INFO"
        ),
        # Celery then hands unfinished messages back on SIGTERM instead of waiting for them.
        environment=MappingProxyType({"REMAP_SIGTERM": "SIGQUIT"}),
    ),
    Member(
        "beat",
        _arguments(
            "-m celery -A buildportal beat --schedule {state_dir}/beat/schedule --pidfile= --loglevel INFO"
        ),
    ),
    Member("watcher", _arguments("manage.py watch_builds")),
    Member("collector", _arguments("manage.py collect_stats")),
    Member(
        "web",
        _arguments(
            "-m gunicorn buildportal.wsgi --preload --bind {bind} --worker-class gthread "
            f"--workers {WEB_PROCESSES} --threads {WEB_THREADS} --timeout 30 --graceful-timeout 4 "
            "--worker-tmp-dir /dev/shm --no-control-socket --log-level warning"
        ),
        death_signal=signal.SIGTERM,
    ),
)

STAND_IN_CLUSTER = Member(
    "cluster", _arguments("-m devcluster --state-dir {state_dir}/cluster --port 0 --demo")
)
