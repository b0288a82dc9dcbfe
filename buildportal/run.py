"""`python -m buildportal.run`: starts the whole portal on one machine and keeps it going; no domain."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from buildportal import embedded_valkey, options, statedir
from buildportal.lineup import PORTAL, STAND_IN_CLUSTER, Member
from buildportal.options import Options
from buildportal.processes import Command, Crew
from buildportal.statedir import Refused, write_private_json

ROOT = Path(__file__).resolve().parent.parent
PART_START_TIMEOUT_S = 30.0
SET_UP_TIMEOUT_S = 120.0
# The children of a supervisor that was killed a moment ago may still be ending.
LEFTOVER_PATIENCE_S = 3.0
STILL_WAITING_EVERY_S = 15.0
PROBE_TIMEOUT_S = 3.0
WHOLE_WITHIN_S = 20.0
LOOK_EVERY_S = 0.1
# Together well under ten seconds: first those who use the others, then the others.
PORTAL_STOP_S = 6.0
BASE_STOP_S = 2.5


class Stopped(Exception):
    """Someone pressed Ctrl-C or sent SIGTERM."""


def main() -> int:
    """The exit status: 0 after a stop that was asked for, 2 where the portal could not be started."""
    os.umask(0o077)
    _stop_on(signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        _stop_on(signal.SIGHUP)
    try:
        wish = options.read()
        statedir.prepare(wish.state_dir)
        with statedir.lock(wish.state_dir):
            options.check_port(wish)
            if wish.redis_url:
                options.check_redis(wish.redis_url)
            Portal(wish).run()
    except Refused as refused:
        print(f"buildportal: {refused}", file=sys.stderr)
        return 2
    except Stopped:
        return 0
    return 0


def _stop_on(*signals: int) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    for number in signals:
        signal.signal(number, stop)


def say(sentence: str) -> None:
    """A line on the terminal; a terminal that is gone is no reason to stop."""
    try:
        print(sentence, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of this process


class Portal:
    """One run: the processes, the environment that they share, and the folder that they write to."""

    def __init__(self, wish: Options) -> None:
        self.wish = wish
        self.folder = wish.state_dir
        self.kubeconfig = (
            self.folder / "cluster" / "kubeconfig" if wish.cluster == "demo" else wish.kubeconfig
        )
        self.socket = None if wish.redis_url else embedded_valkey.choose_socket(self.folder)
        self.crew = Crew(self.folder / "logs", cwd=ROOT, announce=say, echo=wish.echo)
        self.environment = self._environment()

    def _environment(self) -> dict[str, str]:
        """The variables of settings.py, for every process: the caller's own win where they make sense."""
        chosen = {
            "STATE_DIR": str(self.folder),
            "CLUSTER": "incluster" if self.wish.cluster == "incluster" else "kubeconfig",
            "PYTHONUNBUFFERED": "1",
        }
        if self.kubeconfig:
            chosen["KUBECONFIG"] = str(self.kubeconfig)
        if self.socket:
            chosen["REDIS_URL"] = embedded_valkey.url(self.socket)
        return {
            "SECURE_COOKIES": "0",  # plain http on this machine; behind a proxy with TLS it is set to 1
            "SECRET_KEY": statedir.secret_key(self.folder),
            "DATABASE_URL": f"sqlite:///{quote(str(self.folder))}/db.sqlite3",
            **{name: value for name, value in os.environ.items() if value},
            **chosen,
        }

    def run(self) -> None:
        """Start everything, say where it is, and look after it until a signal comes. Raises Refused."""
        (self.folder / "run.json").unlink(missing_ok=True)
        try:
            self._start()
            while True:
                self._look_after()
                time.sleep(LOOK_EVERY_S)
        except Stopped:
            say("Stopping.")
        finally:
            self._stop()

    def _start(self) -> None:
        started_s = time.monotonic()
        say(f"Starting buildportal; its state is in {self.folder}.")
        if self.socket:
            self._start_valkey(self.socket)
        if self.wish.cluster == "demo":
            self._start_cluster()
        else:
            self._set_up()
        for member in PORTAL:
            self.crew.start(self._command(member))
        self._note_pids()
        self._wait_until_ready()
        self._tell(time.monotonic() - started_s)

    def _command(self, member: Member) -> Command:
        """The member's command line in this interpreter, with its variables."""
        places = {"bind": self.wish.bind, "state_dir": str(self.folder)}
        argv = (sys.executable, *(argument.format(**places) for argument in member.arguments))
        return Command(member.name, argv, {**self.environment, **member.environment}, member.death_signal)

    def _start_valkey(self, path: Path) -> None:
        deadline_s = time.monotonic() + LEFTOVER_PATIENCE_S
        while embedded_valkey.is_taken(path):
            if time.monotonic() > deadline_s:
                raise Refused(f"Another server listens on {path}; stop it, or name another STATE_DIR.")
            time.sleep(LOOK_EVERY_S)
        path.unlink(missing_ok=True)
        argv = tuple(embedded_valkey.command(path, self.folder / "valkey", durable=True))
        self.crew.start(Command("valkey", argv, self.environment))
        self._wait_for("Valkey to answer", lambda: embedded_valkey.answers(path))

    def _start_cluster(self) -> None:
        """Start the stand-in, which writes its kubeconfig anew, and use the time until then."""
        kubeconfig = self.folder / "cluster" / "kubeconfig"
        before = _written_at(kubeconfig)
        self.crew.start(self._command(STAND_IN_CLUSTER))
        self._set_up()
        self._wait_for("the stand-in cluster", lambda: _written_at(kubeconfig) != before)

    def _set_up(self) -> None:
        """Database, static files, administrator and token. Raises Refused with the reason in one sentence."""
        done = subprocess.run(
            [sys.executable, "manage.py", "set_up", str(self.folder)],
            check=False,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SET_UP_TIMEOUT_S,
        )
        if done.returncode != 0:
            (self.folder / "logs" / "set_up.log").write_text(done.stderr)
            last_line = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Refused(re.sub(r"^[\w.]+: ", "", last_line))

    def _wait_for(self, what: str, has_come: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PART_START_TIMEOUT_S
        while not has_come():
            self.crew.look_after()
            if time.monotonic() > deadline_s:
                logs = self.folder / "logs"
                raise Refused(f"Waited {PART_START_TIMEOUT_S:g} s in vain for {what}; {logs} may say why.")
            time.sleep(LOOK_EVERY_S)

    def _wait_until_ready(self) -> None:
        """Until /readyz says ready, for as long as that takes: a database that is away may come back.

        The other parts it reports on get a while to come up, so that the first answers are whole.
        """
        say_again_s = time.monotonic() + STILL_WAITING_EVERY_S
        give_up_s: float | None = None
        while True:
            serves, missing = _readiness(f"{self.wish.url}/readyz")
            now_s = time.monotonic()
            if serves and not missing:
                return
            if serves:
                give_up_s = give_up_s or now_s + WHOLE_WITHIN_S
                if now_s > give_up_s:
                    say(f"Not all is well: {missing}. The portal answers what it knows.")
                    return
            elif now_s > say_again_s:
                say(f"Not ready yet: {missing}")
                say_again_s += STILL_WAITING_EVERY_S
            self._look_after()
            time.sleep(LOOK_EVERY_S)

    def _look_after(self) -> None:
        if self.crew.look_after():
            self._note_pids()

    def _note_pids(self) -> None:
        write_private_json(self.folder / "pids.json", {"supervisor": os.getpid(), **self.crew.pids()})

    def _tell(self, took_s: float) -> None:
        """Write run.json and the few lines that a newcomer needs."""
        token = (self.folder / "api_token").read_text()
        kept = self.folder / "admin_password"
        password = kept.read_text() if kept.exists() else None
        run_file = {
            "url": self.wish.url,
            "token": token,
            "admin_username": "admin",
            "admin_password": password,
            "kubeconfig": str(self.kubeconfig) if self.kubeconfig else None,
        }
        write_private_json(self.folder / "run.json", run_file)
        stand_in = f"a stand-in made for trying the portal; kubeconfig {self.kubeconfig}"
        cluster = (
            stand_in if self.wish.cluster == "demo" else self.kubeconfig or "the one that this pod runs in"
        )
        say(
            f"""
buildportal is ready after {took_s:.1f} s.

  Pages    {self.wish.url}/console/
  Admin    {self.wish.url}/admin/   admin   {password or "(the password that was set before)"}
  Token    {token}
  Try      curl -H "Authorization: Bearer {token}" "{self.wish.url}/builds?limit=3"
  Cluster  {cluster}
  Logs     {self.folder / "logs"}

Ctrl-C stops all of it.
"""
        )

    def _stop(self) -> None:
        """First those who use the others. A second signal in the meantime kills what is left."""
        try:
            self.crew.stop([member.name for member in PORTAL], within_s=PORTAL_STOP_S)
            self.crew.stop([STAND_IN_CLUSTER.name, "valkey"], within_s=BASE_STOP_S)
        except Stopped:
            self.crew.kill()
        for name in ("run.json", "pids.json"):
            (self.folder / name).unlink(missing_ok=True)
        if self.socket and self.socket.parent != self.folder:
            shutil.rmtree(self.socket.parent, ignore_errors=True)


def _written_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _readiness(url: str) -> tuple[bool, str]:
    """Whether /readyz says ready, and in words what it finds missing; "" if nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310 - from HOST and PORT
            checks = json.load(answer)["checks"]
    except urllib.error.HTTPError as answer:
        with answer:
            return False, answer.read(500).decode(errors="replace").strip() or f"status {answer.code}"
    except OSError as error:
        return False, f"the web process does not answer ({error})"
    return True, ", ".join(
        f"{name} is {check['status']}" for name, check in checks.items() if check["status"] != "ok"
    )


if __name__ == "__main__":
    sys.exit(main())
