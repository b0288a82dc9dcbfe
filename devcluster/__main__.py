"""Starts the stand-in cluster: arguments, the port, the ready line, SIGTERM; serves nothing itself."""

import argparse
import asyncio
import contextlib
import errno
import fcntl
import random
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import TextIO

from aiohttp import web

from devcluster import credentials, discovery, watching
from devcluster.cluster import assemble
from devcluster.demo import Demo
from devcluster.journal import Journal
from devcluster.server import Server

SHUTDOWN_S = 1.0
DATABASE = "cluster.sqlite3"
# Below those that the kernel gives to outgoing connections (ip_local_port_range): while the server is away,
# no connection takes its port.
LASTING_PORTS = range(20000, 30000)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="devcluster", description=discovery.NOTICE)
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, and the same after a restart")
    parser.add_argument("--demo", action="store_true", help="play a stream of builds in knative-lambda")
    parser.add_argument("--demo-rate", type=float, default=1.0, help="2: twice as many builds as usual")
    parser.add_argument(
        "--bookmark-every", type=float, default=watching.BOOKMARK_EVERY_S, help="seconds between bookmarks"
    )
    return parser.parse_args(arguments)


def listen(host: str, port: int, remembered: Path) -> socket.socket:
    """The wished port, else the one of last time if it is free, else any. Raises OSError."""
    wishes = [port] if port else [*_remembered_port(remembered), *random.sample(LASTING_PORTS, 20), 0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wish in wishes:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, wish))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or wish == wishes[-1]:
                raise
        else:
            remembered.write_text(str(listener.getsockname()[1]))
            return listener
    raise OSError(errno.EADDRINUSE, "no port is free")


def _remembered_port(remembered: Path) -> list[int]:
    try:
        return [int(remembered.read_text())]
    except (OSError, ValueError):
        return []


def hold(state_dir: Path) -> TextIO:
    """Makes the folder this process's own while the file is open; raises OSError if it is another's."""
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = (state_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise OSError(error.errno, f"another devcluster uses {state_dir}") from error
    return lock


async def serve(arguments: argparse.Namespace, journal: Journal) -> None:
    state_dir: Path = arguments.state_dir
    keys = credentials.ensure(state_dir, arguments.host)
    listener = listen(arguments.host, arguments.port, state_dir / "port")
    port = listener.getsockname()[1]
    cluster = assemble(journal)
    cluster.start()
    if arguments.demo:
        Demo(cluster, arguments.demo_rate).start()
    server = Server(cluster, keys, arguments.bookmark_every)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stopping.set)
    runner = web.AppRunner(
        server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=keys.server_context()).start()
    host = credentials.reachable_address(arguments.host)
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    credentials.write_kubeconfig(state_dir / "kubeconfig", url, keys)
    sys.stdout.write(f"{discovery.NOTICE}; ready at {url}, kubeconfig {state_dir / 'kubeconfig'}\n")
    sys.stdout.flush()
    await server.stopping.wait()
    await runner.cleanup()


def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    try:
        with (
            hold(arguments.state_dir),
            contextlib.closing(Journal(arguments.state_dir / DATABASE)) as journal,
        ):
            asyncio.run(serve(arguments, journal))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (OSError, sqlite3.Error) as error:
        raise SystemExit(f"devcluster cannot start: {error}") from error


if __name__ == "__main__":
    main()
