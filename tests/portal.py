"""The whole portal as `make run` starts it, in a folder of its own; holds no test."""

import json
import os
import signal
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port
from tests.processes import Process, wait_until
from tests.surroundings import fresh_database_url, variables_of_the_settings

READY_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 10.0
# So that what a test waits for does not take a production's time.
QUICK = {"RECONCILE_INTERVAL_S": "3", "LIVE_LOG_INTERVAL_S": "1"}


@dataclass(frozen=True)
class Answer:
    """One answer of the API."""

    status: int
    body: dict[str, Any]


class Portal:
    """One run of `python -m buildportal.run`; as a context manager it is stopped at the end.

    It has a database of its own, PostgreSQL where the tests run on PostgreSQL, and a Valkey of its own.
    """

    def __init__(self, process: Process, state_dir: Path, variables: dict[str, str]) -> None:
        self.process = process
        self.state_dir = state_dir
        self.variables = variables
        run_file = json.loads((state_dir / "run.json").read_text())
        self.url = str(run_file["url"])
        self.token = str(run_file["token"])
        self.admin = (str(run_file["admin_username"]), str(run_file["admin_password"]))
        self.kubeconfig = Path(run_file["kubeconfig"]) if run_file["kubeconfig"] else None

    @classmethod
    def start(cls, state_dir: Path, **variables: str) -> Self:
        """Returns when the portal says that it is ready."""
        chosen = dict.fromkeys(variables_of_the_settings(), "")
        chosen |= {"PORT": str(free_port()), "DATABASE_URL": fresh_database_url(), **QUICK, **variables}
        return cls.start_again(state_dir, chosen)

    @classmethod
    def start_again(cls, state_dir: Path, variables: dict[str, str]) -> Self:
        """Start with the very variables of an earlier portal: `.variables`."""
        (state_dir / "run.json").unlink(missing_ok=True)
        process = Process.python("-m", "buildportal.run", env={**variables, "STATE_DIR": str(state_dir)})
        try:
            wait_until(
                lambda: (state_dir / "run.json").exists() or not process.is_running,
                READY_TIMEOUT_S,
                "run.json",
            )
            assert process.is_running, process.output
            return cls(process, state_dir, variables)
        except BaseException as error:
            error.add_note(process.output)
            process.terminate()
            raise

    def pids(self) -> dict[str, int]:
        """The processes that run, `supervisor` among them, by name."""
        found: dict[str, int] = json.loads((self.state_dir / "pids.json").read_text())
        return found

    def pid_of(self, name: str) -> int:
        return self.pids()[name]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send one process a signal."""
        os.kill(self.pid_of(name), number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10) -> int:
        """Ask the supervisor to end, and wait for it; its exit status."""
        self.process.send(number)
        return self.process.wait(timeout_s)

    def request(self, method: str, path: str, body: object = None, token: str | None = None) -> Answer:
        """Call the API with the portal's own token, or with the given one."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        call = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=REQUEST_TIMEOUT_S) as answer:
                return Answer(answer.status, json.load(answer))
        except urllib.error.HTTPError as answer:
            with answer:
                return Answer(answer.code, json.load(answer))

    def get(self, path: str) -> dict[str, Any]:
        """The body of a GET that is expected to succeed."""
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.body

    def build(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/builds/{name}?tail_lines=5")["build"]
        return found

    def wait_for(self, name: str, *statuses: str, timeout_s: float = 20) -> dict[str, Any]:
        """The build once it has one of the statuses."""

        def look() -> dict[str, Any] | None:
            answer = self.request("GET", f"/builds/{name}")
            build: dict[str, Any] = answer.body.get("build", {})
            return build if build.get("status") in statuses else None

        build = wait_until(look, timeout_s, f"{name}: {statuses}")
        assert build
        return build

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.is_running:
            self.stop(timeout_s=15)
        self.process.kill()
