"""What `make run` refuses, each in one sentence, and how it prepares its folder."""

import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildportal import embedded_valkey, statedir
from buildportal.statedir import Refused
from tests.ports import free_port
from tests.processes import Process
from tests.surroundings import variables_of_the_settings

NOBODY = 65534


def refusal(state_dir: Path, **variables: str) -> str:
    """The sentence with which a start with these variables ends."""
    environment = dict.fromkeys(variables_of_the_settings(), "")
    environment |= {"STATE_DIR": str(state_dir), "PORT": str(free_port()), **variables}
    with Process.python("-m", "buildportal.run", env=environment) as run:
        assert run.wait(60) == 2, run.output
        lines = [line for line in run.output.splitlines() if not line.startswith("Starting")]
        assert len(lines) == 1, run.output
        return lines[0]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PORT": "http"}, "PORT must be a number; it is 'http'."),
        ({"PORT": "70000"}, "PORT must be between 1 and 65535; it is '70000'."),
        ({"CLUSTER": "moon"}, "CLUSTER must be one of demo, kubeconfig, incluster; it is 'moon'."),
        ({"VERBOSE": "loud"}, "VERBOSE must be one of 1, 0"),
        ({"HOST": "no.such.host.invalid"}, "HOST=no.such.host.invalid is not an address"),
        ({"HOST": "192.0.2.1"}, "on 192.0.2.1 cannot be used: "),
        ({"CLUSTER": "kubeconfig", "KUBECONFIG": "/nowhere"}, "KUBECONFIG=/nowhere is not a file."),
        ({"CLUSTER": "incluster"}, "KUBERNETES_SERVICE_HOST is not set."),
        ({"REDIS_URL": "http://here"}, "REDIS_URL must begin with redis://"),
        ({"REDIS_URL": "redis://:secret@127.0.0.1:9/0"}, "REDIS_URL: nothing answers at 127.0.0.1:9."),
        ({"REDIS_URL": "unix:///nowhere/at/all?db=0"}, "REDIS_URL: nothing answers at /nowhere/at/all."),
        ({"DATABASE_URL": "mysql://here/db"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://me:secret@127.0.0.1:9/db"}, "DATABASE_URL cannot be used: "),
        ({"CANCEL_WAIT_S": "soon"}, "CANCEL_WAIT_S must be a number; it is 'soon'."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_variable_is_named(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    sentence = refusal(tmp_path / "state", **variables)
    assert sentence.startswith("buildportal: ")
    assert words in sentence
    assert "secret" not in sentence


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        sentence = refusal(tmp_path / "state", PORT=str(port))
    assert f"PORT={port} on 127.0.0.1 cannot be used: address already in use" in sentence


def test_a_second_portal_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with statedir.lock(tmp_path):
        sentence = refusal(tmp_path)
    assert f"Another buildportal (process {os.getpid()}) uses STATE_DIR={tmp_path}" in sentence


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(tmp_path / "file")
    assert "is not a folder" in refusal(tmp_path / "file" / "state")
    assert "cannot be written to" in refusal(Path("/proc/state"))


def test_a_folder_that_is_read_only_is_refused() -> None:
    """Root may write everywhere, so an ordinary user tries."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        assert _as_ordinary_user(lambda: statedir.prepare(folder)) == "prepared"
        folder.chmod(0o555)
        assert "cannot be written to: permission denied." in _as_ordinary_user(
            lambda: statedir.prepare(folder)
        )


def _as_ordinary_user(call: Callable[[], None]) -> str:
    """What became of the call, made in a forked child that is not root."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            call()
            os.write(writing, b"prepared")
        except Refused as refused:
            os.write(writing, str(refused).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def test_a_server_that_is_not_ours_on_the_socket_is_refused(tmp_path: Path) -> None:
    statedir.prepare(tmp_path)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(tmp_path / "valkey.sock"))
        stranger.listen()
        sentence = refusal(tmp_path)
        assert (tmp_path / "valkey.sock").exists()
    assert f"Another server listens on {tmp_path / 'valkey.sock'};" in sentence


def test_a_stale_socket_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert embedded_valkey.is_taken(path)
    assert path.exists()
    assert not embedded_valkey.is_taken(path)
    assert not embedded_valkey.is_taken(tmp_path / "none")


def test_a_socket_path_that_is_too_long_or_odd_moves_to_a_private_folder(tmp_path: Path) -> None:
    assert embedded_valkey.choose_socket(Path("/var/portal")) == Path("/var/portal/valkey.sock")
    for folder in (Path("/" + "x" * 100), Path("/a b"), Path("/a%20b"), Path("/a?b#c")):
        chosen = embedded_valkey.choose_socket(folder)
        assert chosen.name == "valkey.sock"
        assert stat.S_IMODE(chosen.parent.stat().st_mode) == 0o700
        chosen.parent.rmdir()


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with statedir.lock(tmp_path), pytest.raises(Refused):
        statedir.lock(tmp_path)
    with statedir.lock(tmp_path) as held:
        assert (tmp_path / "run.lock").read_text() == str(os.getpid())
    assert held.closed


def test_secrets_are_the_owners_alone_and_stay(tmp_path: Path) -> None:
    key = statedir.secret_key(tmp_path)
    assert len(key) > 50
    assert statedir.secret_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    statedir.write_private(tmp_path / "secret_key", "another")
    assert statedir.secret_key(tmp_path) == "another"
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
