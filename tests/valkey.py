"""A real Valkey server for the tests, on a unix socket in a folder of its own; holds no fixtures."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildportal import embedded_valkey
from buildportal.lifetime import bound_to_us

START_TIMEOUT_S = 10.0


class Valkey:
    """One server whose address is known before it is started, and stays the same over restarts.

    It keeps what it holds over `stop()` and `start()`, as the portal's own does.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bp-valkey-"))
        self.socket = self.folder / "s"
        self.url = embedded_valkey.url(self.socket)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers; nothing to do if it runs."""
        if self._process and self._process.poll() is None:
            return
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                embedded_valkey.command(self.socket, self.folder, durable=True),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=bound_to_us(),  # noqa: PLW1509 - only calls libc
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not embedded_valkey.answers(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server in order; clients get their connections refused until `start()`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop the server without a word, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=5)
        self._process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The body runs with the server down."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The body runs with a server that accepts connections and never answers."""
        if not self._process:
            raise RuntimeError("Valkey is not running, so it cannot be made silent.")
        process = self._process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
