"""The servers that the tests start for themselves: from the wheel too, and gone with whoever started them."""

import os
import shutil
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from tests.postgres import ROLE, Postgres, PostgresMissing, find_binaries, wheel_binaries
from tests.processes import Process, wait_until
from tests.valkey import Valkey

STARTER = """
import time
from tests.postgres import Postgres, find_binaries
from tests.valkey import Valkey
postgres, valkey = Postgres(find_binaries()), Valkey()
print(postgres.folder, valkey.folder, flush=True)
postgres.start(); valkey.start()
print("started", flush=True)
time.sleep(60)
"""


def answer_of(postgres: Postgres) -> int:
    with psycopg.connect(
        host=str(postgres.folder), user=ROLE, dbname="postgres", connect_timeout=5
    ) as connection:
        row = connection.execute("SELECT 6 * 7").fetchone()
        assert row
        return int(row[0])


@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
def test_the_wheels_postgresql_works_also_from_a_folder_closed_to_others(
    tmp_path: Path, is_closed: bool
) -> None:
    binaries = wheel_binaries()
    if is_closed:
        package = binaries.parent.parent
        libraries = f"{package.name}.libs"
        shutil.copytree(binaries.parent, tmp_path / package.name / "pginstall", symlinks=True)
        shutil.copytree(package.with_name(libraries), tmp_path / libraries)
        tmp_path.chmod(0o700)
        binaries = tmp_path / package.name / "pginstall" / "bin"
    postgres = Postgres(binaries)
    try:
        postgres.start()
        assert answer_of(postgres) == 42
    finally:
        postgres.remove()
    assert not postgres.folder.exists()


def test_a_folder_without_a_server_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    with pytest.raises(PostgresMissing, match="does not hold initdb and postgres"):
        find_binaries()


def test_valkey_keeps_its_data_over_a_stop_and_its_address() -> None:
    valkey = Valkey()
    try:
        valkey.start()
        url = valkey.url
        client = redis.Redis.from_url(url, socket_timeout=2)
        client.set("kept", "yes")
        with valkey.stopped(), pytest.raises(redis.ConnectionError):
            client.ping()
        assert valkey.url == url
        assert client.get("kept") == b"yes"
    finally:
        valkey.remove()


def test_servers_end_when_their_tests_are_killed() -> None:
    with Process.python("-c", STARTER) as tests:
        tests.wait_for_output("started", 30)
        folders = [Path(folder) for folder in tests.output.split()[:2]]
        assert len(processes_in(folders)) >= 2
        os.kill(tests.pid, signal.SIGKILL)
        wait_until(lambda: not processes_in(folders), 10, "the servers' end")
    for folder in folders:
        shutil.rmtree(folder)


def processes_in(folders: list[Path]) -> list[str]:
    """Command lines that name one of the folders."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(str(folder) in line for folder in folders):
            found.append(line)
    return found
