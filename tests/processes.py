"""Real processes for the tests, and waiting for what they do; knows nothing of what they are for."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from buildportal.lifetime import bound_to_us

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


class Process:
    """A child process with its output in a file; leaving it as a context kills it and what it started."""

    def __init__(self, popen: subprocess.Popen[bytes], output: int) -> None:
        self._popen = popen
        self._output = output
        self.pid = popen.pid
        weakref.finalize(self, os.close, output)

    @classmethod
    def start(cls, args: Sequence[str], env: Mapping[str, str] | None = None, *, cwd: Path = ROOT) -> Self:
        """Run the command; `env` comes on top of this process's environment."""
        descriptor, name = tempfile.mkstemp(prefix="bp-output-")
        # Without a name it goes when the last process that writes to it has gone.
        Path(name).unlink()
        try:
            popen = subprocess.Popen(
                list(args),
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=bound_to_us(),  # noqa: PLW1509 - takes no lock, see there
            )
        except OSError:
            os.close(descriptor)
            raise
        return cls(popen, descriptor)

    @classmethod
    def python(cls, *args: str, env: Mapping[str, str] | None = None) -> Self:
        """Run this interpreter, without buffering."""
        return cls.start([sys.executable, "-u", *args], env)

    @classmethod
    def manage(cls, *args: str, env: Mapping[str, str] | None = None) -> Self:
        """Run a command of manage.py."""
        return cls.python("manage.py", *args, env=env)

    @classmethod
    def worker(
        cls,
        name: str = "worker",
        *options: str,
        env: Mapping[str, str] | None = None,
        concurrency: int = 2,
        queues: Sequence[str] = (),
    ) -> Self:
        """Run a Celery worker of the portal, as `make run` does; it is up at `wait_for_output("ready.")`."""
        chosen = ("--queues", ",".join(queues)) if queues else ()
        return cls.python(
            *("-m", "celery", "-A", "buildportal", "worker", "--pool", "threads", "--loglevel", "INFO"),
            *("--hostname", f"{name}@%h", "--concurrency", str(concurrency)),
            *("--without-gossip", "--without-mingle"),
            *chosen,
            *options,
            env=env,
        )

    @property
    def output(self) -> str:
        """All that it has written to standard output and error so far."""
        size = os.fstat(self._output).st_size
        return os.pread(self._output, size, 0).decode(errors="replace")

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self._popen.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.returncode is None

    def wait_for_output(self, text: str, timeout_s: float = 20) -> None:
        """Return once the output holds the text; an end of the process before that is an AssertionError."""
        try:
            wait_until(lambda: text in self.output or not self.is_running, timeout_s, f"{text!r} is written")
        except AssertionError as error:
            error.add_note(self.output)
            raise
        assert text in self.output, f"ended with {self.returncode} before it wrote {text!r}:\n{self.output}"

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process alone, if it still runs."""
        if self.is_running:
            self._popen.send_signal(signal_number)

    def wait(self, timeout_s: float = 10) -> int:
        """Its return code; an AssertionError with its output if it does not end in time."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"pid {self.pid} still runs after {timeout_s} s:\n{self.output}") from None

    def terminate(self, timeout_s: float = 10) -> int:
        """SIGTERM, then `wait`."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to it and to whatever it has started; nothing to do if it has ended."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"Output of pid {self.pid}:\n{self.output[-5000:]}")


def wait_until(condition: Callable[[], T], timeout_s: float, what: str, *, every_s: float = 0.05) -> T:
    """The condition's first true answer; an AssertionError that says what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still not so after {timeout_s:g} s: {what}"
        time.sleep(every_s)
