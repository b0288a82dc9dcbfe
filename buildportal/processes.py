"""Child processes: started, watched, restarted with backoff, stopped by pid; knows nothing of the portal."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from buildportal.lifetime import bound_to_us

FIRST_RESTART_AFTER_S = 0.25
LONGEST_RESTART_AFTER_S = 10.0
HEALTHY_AFTER_S = 30.0
LOG_LIMIT_BYTES = 5 * 1024 * 1024
LINE_LIMIT_BYTES = 64 * 1024
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Command:
    """What to start. death_signal is what the process gets when its supervisor is killed."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    death_signal: int = signal.SIGKILL


@dataclass
class Backoff:
    """How long to wait before the next start: doubling, and forgotten after a healthy while."""

    failures: int = 0

    def after(self, *, lived_s: float) -> float:
        """The wait in seconds after a life of lived_s."""
        if lived_s >= HEALTHY_AFTER_S:
            self.failures = 0
        delay_s = min(FIRST_RESTART_AFTER_S * 2**self.failures, LONGEST_RESTART_AFTER_S)
        self.failures += 1
        return delay_s


class Log:
    """A child's output: in a file that is turned over once it is large, and its last lines in memory."""

    def __init__(self, path: Path, echo: Callable[[str], None] | None) -> None:
        self._path = path
        self._echo = echo
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self.last_lines: deque[str] = deque(maxlen=3)

    def follow(self, pipe: IO[bytes]) -> None:
        """Read the pipe to its end in a thread; a new life begins."""
        self.last_lines.clear()
        threading.Thread(target=self._copy, args=(pipe,), daemon=True).start()

    def _copy(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LINE_LIMIT_BYTES):
                text = line.decode(errors="replace").rstrip()
                self.last_lines.append(text)
                self._write(line)
                if self._echo:
                    self._echo(text)

    def _write(self, line: bytes) -> None:
        # An earlier life's pipe may still be read: a grandchild can hold it open.
        with self._lock:
            try:
                if self._file is None:
                    self._file = self._path.open("ab")
                elif self._file.tell() > LOG_LIMIT_BYTES:
                    self._file.close()
                    self._path.replace(self._path.with_suffix(".log.1"))
                    self._file = self._path.open("ab")
                self._file.write(line)
                self._file.flush()
            except OSError:
                # A full disk must not stop the reading: the child would block on its pipe.
                self._file = None


@dataclass
class Child:
    """One place in the crew and the process that fills it now, in a session of its own."""

    command: Command
    log: Log
    cwd: Path
    backoff: Backoff = field(default_factory=Backoff)
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    restart_at_s: float | None = None

    def start(self) -> None:
        """Raises OSError where the program cannot be started."""
        death_signal = self.command.death_signal
        self.process = subprocess.Popen(
            self.command.argv,
            cwd=self.cwd,
            env=dict(self.command.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bound_to_us(death_signal),  # noqa: PLW1509 - only calls libc
        )
        self.started_at_s, self.restart_at_s = time.monotonic(), None
        if self.process.stdout:
            self.log.follow(self.process.stdout)

    def has_ended(self) -> bool:
        """Whether the process is gone. It is not reaped yet, so its pid and group are still its own."""
        if self.process is None or self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def signal(self, number: int) -> None:
        if self.process and not self.has_ended():
            os.kill(self.process.pid, number)  # not send_signal(), which may reap

    def clear_away(self) -> int:
        """Kill what is left of the process and its descendants in its group; the exit status."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait(timeout=5)


class Crew:
    """The children of one supervisor. All calls come from one thread: children die with that thread."""

    def __init__(self, folder: Path, *, cwd: Path, announce: Callable[[str], None], echo: bool) -> None:
        """Logs go to folder; announce gets a sentence for each restart, and with echo each line of output."""
        self._folder = folder
        self._cwd = cwd
        self._announce = announce
        self._echo = echo
        self._children: dict[str, Child] = {}

    def start(self, command: Command) -> None:
        """Start a child and hold its place from now on. Raises OSError."""

        def say(line: str) -> None:
            self._announce(f"{command.name:<9} | {line}")

        log = Log(self._folder / f"{command.name}.log", say if self._echo else None)
        child = Child(command, log, self._cwd)
        self._children[command.name] = child
        child.start()

    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {name: c.process.pid for name, c in self._children.items() if c.process and not c.has_ended()}

    def look_after(self) -> bool:
        """One look at every child: clear away who died, start who is due. Whether anything was done."""
        now_s, acted = time.monotonic(), False
        for child in self._children.values():
            if child.restart_at_s is not None:
                if now_s >= child.restart_at_s:
                    self._restart(child)
                    acted = True
            elif child.has_ended():
                self._mourn(child, now_s)
                acted = True
        return acted

    def _mourn(self, child: Child, now_s: float) -> None:
        status = child.clear_away()
        delay_s = child.backoff.after(lived_s=now_s - child.started_at_s)
        child.restart_at_s = now_s + delay_s
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self._announce(f"{child.command.name} {how}; it is started again in {delay_s:g} s.")
        if status > 0 and not self._echo:
            for line in child.log.last_lines:
                self._announce(f"  {child.command.name} said: {line[:300]}")

    def _restart(self, child: Child) -> None:
        try:
            child.start()
        except OSError as error:
            delay_s = child.backoff.after(lived_s=0)
            child.restart_at_s = time.monotonic() + delay_s
            self._announce(f"{child.command.name} cannot be started ({error}); next try in {delay_s:g} s.")

    def stop(self, names: Iterable[str], *, within_s: float) -> None:
        """Ask the named children to end, all at once; kill those that have not after within_s."""
        leaving = [self._children.pop(name) for name in names if name in self._children]
        for child in leaving:
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)  # one that was stopped would not hear it
        deadline_s = time.monotonic() + within_s
        while not all(child.has_ended() for child in leaving) and time.monotonic() < deadline_s:
            time.sleep(LOOK_EVERY_S)
        for child in leaving:
            child.clear_away()

    def kill(self) -> None:
        """End all that is left, at once."""
        self.stop(list(self._children), within_s=0)
