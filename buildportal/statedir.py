"""The folder in which a started portal keeps its state: prepared, locked, and its secrets; no processes."""

import fcntl
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import IO

FOLDERS = ("logs", "beat", "cluster", "valkey")


class Refused(Exception):
    """The portal cannot be started; the message is one sentence for the person who tried."""


def prepare(folder: Path) -> None:
    """Make the folder and what belongs in it. Raises Refused where that cannot be done."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        raise Refused(f"STATE_DIR={folder} cannot be used: {error.filename} is not a folder.") from error
    except NotADirectoryError as error:
        raise Refused(f"STATE_DIR={folder} cannot be used: a part of it is not a folder.") from error
    except OSError as error:
        raise Refused(
            f"STATE_DIR={folder} cannot be written to: {(error.strerror or '').lower()}."
        ) from error


def lock(folder: Path) -> IO[str]:
    """The open file that holds the folder for this process until it is closed or the process ends.

    Raises Refused where another supervisor has it.
    """
    path = folder / "run.lock"
    path.touch(mode=0o600)
    held = path.open("r+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = held.read().strip() or "unknown"
        held.close()
        raise Refused(
            f"Another buildportal (process {owner}) uses STATE_DIR={folder}; stop it, or name another folder."
        ) from error
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    return held


def secret_key(folder: Path) -> str:
    """Django's SECRET_KEY, made at the first start: sessions outlive a restart."""
    path = folder / "secret_key"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(50))
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)


def write_private_json(path: Path, content: object) -> None:
    write_private(path, json.dumps(content, indent=2) + "\n")
