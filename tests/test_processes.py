"""Children of a supervisor: restarted, stopped with all that they started, and gone when it is killed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildportal import processes
from buildportal.processes import Backoff, Command, Crew
from tests.processes import ROOT, Process, wait_until

# Starts a grandchild, writes both pids, and sleeps; `deaf` children do not hear SIGTERM.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
folder, deaf = pathlib.Path(sys.argv[1]), "deaf" in sys.argv
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(folder / "grandchild").write_text(str(grandchild.pid))
print("hello", flush=True)
(folder / "child").write_text(str(os.getpid()))
time.sleep(60)
"""
SUPERVISOR = """
import os, pathlib, sys, time
from buildportal.processes import Command, Crew
folder = pathlib.Path(sys.argv[1])
crew = Crew(folder, cwd=folder, announce=print, echo=False)
crew.start(Command("child", (sys.executable, "-c", sys.argv[2], str(folder)), dict(os.environ)))
while True:
    crew.look_after()
    time.sleep(0.05)
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def crew(tmp_path: Path, said: list[str]) -> Iterator[Crew]:
    crew = Crew(tmp_path, cwd=tmp_path, announce=said.append, echo=False)
    yield crew
    crew.kill()


def family(folder: Path, *words: str) -> Command:
    return Command("child", (sys.executable, "-c", FAMILY, str(folder), *words), dict(os.environ))


def pid_in(folder: Path, name: str) -> int:
    return int(wait_until(lambda: (folder / name).exists() and (folder / name).read_text(), 10, name))


def is_alive(pid: int) -> bool:
    """A zombie has ended, though its parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def looking_after(crew: Crew, condition: Callable[[], bool]) -> Callable[[], bool]:
    def look() -> bool:
        crew.look_after()
        return condition()

    return look


def test_a_child_that_is_killed_is_back_and_its_own_children_are_gone(
    crew: Crew, tmp_path: Path, said: list[str]
) -> None:
    crew.start(family(tmp_path))
    first, grandchild = pid_in(tmp_path, "child"), pid_in(tmp_path, "grandchild")
    assert crew.pids() == {"child": first}
    os.kill(first, signal.SIGKILL)
    wait_until(looking_after(crew, lambda: crew.pids().get("child", first) != first), 5, "another child")
    wait_until(lambda: not is_alive(grandchild), 2, "the grandchild's end")
    assert said == ["child was killed by SIGKILL; it is started again in 0.25 s."]


def test_a_child_that_fails_is_announced_with_its_last_words(crew: Crew, said: list[str]) -> None:
    crew.start(Command("child", (sys.executable, "-c", "raise SystemExit('no luck')"), dict(os.environ)))
    wait_until(looking_after(crew, lambda: len(said) > 1), 10, "an announcement")
    assert said[0] == "child ended with status 1; it is started again in 0.25 s."
    assert said[1] == "  child said: no luck"


def test_a_program_that_is_missing_is_tried_again(crew: Crew, tmp_path: Path, said: list[str]) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    crew.start(Command("child", (str(program),), dict(os.environ)))
    program.unlink()
    os.kill(crew.pids()["child"], signal.SIGKILL)
    wait_until(
        looking_after(crew, lambda: any("cannot be started" in line for line in said)), 5, "a complaint"
    )
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    wait_until(looking_after(crew, lambda: "child" in crew.pids()), 5, "the child")


def test_backoff_doubles_up_to_a_bound_and_forgets_after_a_healthy_while() -> None:
    backoff = Backoff()
    assert [backoff.after(lived_s=1) for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert backoff.after(lived_s=processes.HEALTHY_AFTER_S) == 0.25
    assert backoff.after(lived_s=1) == 0.5


@pytest.mark.parametrize("words", [(), ("deaf",)], ids=["willing", "deaf"])
def test_stop_leaves_none_behind_within_its_time(crew: Crew, tmp_path: Path, words: tuple[str, ...]) -> None:
    crew.start(family(tmp_path, *words))
    child, grandchild = pid_in(tmp_path, "child"), pid_in(tmp_path, "grandchild")
    begin_s = time.monotonic()
    crew.stop(["child"], within_s=1)
    took_s = time.monotonic() - begin_s
    assert not is_alive(child)
    wait_until(lambda: not is_alive(grandchild), 2, "the grandchild's end")
    assert 1 <= took_s < 2 if words else took_s < 0.9


def test_a_child_that_stands_still_is_stopped_too(crew: Crew, tmp_path: Path) -> None:
    crew.start(family(tmp_path))
    child = pid_in(tmp_path, "child")
    os.kill(child, signal.SIGSTOP)
    begin_s = time.monotonic()
    crew.stop(["child"], within_s=5)
    assert not is_alive(child)
    assert time.monotonic() - begin_s < 4


def test_the_children_of_a_killed_supervisor_end(tmp_path: Path) -> None:
    with Process.python("-c", SUPERVISOR, str(tmp_path), "import time; time.sleep(60)") as supervisor:
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
        child = int(wait_until(lambda: children.read_text().strip(), 10, "a child"))
        os.kill(supervisor.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(child), 5, "the child's end")


def test_output_goes_to_a_file_of_bounded_size(
    crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOG_LIMIT_BYTES", 10_000)
    talk = "for i in range(3000): print(f'line {i:05}')\nimport time; time.sleep(60)"
    crew.start(Command("child", (sys.executable, "-uc", talk), dict(os.environ)))
    log = tmp_path / "child.log"
    wait_until(lambda: log.exists() and "line 02999" in log.read_text(), 10, "the last line")
    older = tmp_path / "child.log.1"
    assert max(log.stat().st_size, older.stat().st_size) < 10_100
    last, first = older.read_text().splitlines()[-1], log.read_text().splitlines()[0]
    assert int(first.split()[1]) == int(last.split()[1]) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child.log", "child.log.1"]


def test_echo_puts_the_name_before_each_line(tmp_path: Path, said: list[str]) -> None:
    crew = Crew(tmp_path, cwd=ROOT, announce=said.append, echo=True)
    crew.start(Command("web", (sys.executable, "-uc", "print('hello'); import time; time.sleep(60)"), {}))
    try:
        wait_until(lambda: said, 10, "a line")
        assert said == ["web       | hello"]
    finally:
        crew.kill()
