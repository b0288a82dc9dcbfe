"""What the played node remembers of a pod beyond its object: steps and runs; plain data."""

import msgspec


class Run(msgspec.Struct):
    """One run of one container. `ends_at` is the plan, `stopped_at` what came."""

    started_at: float
    ends_at: float
    exit_code: int
    is_init: bool = False
    stopped_at: float | None = None
    reason: str = ""
    message: str = ""


class Waiting(msgspec.Struct):
    reason: str
    message: str = ""


class PodState(msgspec.Struct):
    uid: str
    namespace: str
    name: str
    # Which pod of its owner this is, from 0.
    ordinal: int
    # bind, mount, config, pull, backoff, init, run, stop, done, stuck
    step: str = "bind"
    due_at: float | None = None
    tries: int = 0
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    node_started_at: float | None = None
    waiting: dict[str, Waiting] = {}
    runs: dict[str, list[Run]] = {}
    restart_at: dict[str, float] = {}
    evict_at: float | None = None
    lost_at: float | None = None
    kill_at: float | None = None

    def last_run(self, container: str) -> Run | None:
        runs = self.runs.get(container)
        return runs[-1] if runs else None

    def running(self) -> list[tuple[str, Run]]:
        """Containers that run now, by the order in which they started first."""
        last = [(name, runs[-1]) for name, runs in self.runs.items()]
        return [(name, run) for name, run in last if run.stopped_at is None]


def encode(state: PodState) -> bytes:
    return msgspec.json.encode(state)


def decode(body: bytes) -> PodState:
    return msgspec.json.decode(body, type=PodState)
