"""What the caller of `make run` asks for, read from the environment and checked; starts nothing."""

import errno
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from django.core.exceptions import ImproperlyConfigured

from buildportal.environment import choice, flag, integer, text
from buildportal.statedir import Refused

REDIS_TIMEOUT_S = 2.0
# A portal that was killed a moment ago needs this long to let go of its port.
PORT_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Options:
    """A valid wish. redis_url and kubeconfig are None where the embedded Valkey and the stand-in are used."""

    host: str
    port: int
    state_dir: Path
    cluster: str
    kubeconfig: Path | None
    redis_url: str | None
    echo: bool

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared only
        return f"http://{host}:{self.port}"

    @property
    def bind(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read() -> Options:
    """The options of this environment. Raises Refused, naming the variable, where a value cannot be right."""
    try:
        cluster = choice("CLUSTER", "demo", ("demo", "kubeconfig", "incluster"))
        options = Options(
            host=text("HOST", "127.0.0.1"),
            port=integer("PORT", 8000, least=1, most=65535),
            state_dir=Path(text("STATE_DIR", "var")).expanduser().absolute(),
            cluster=cluster,
            kubeconfig=_kubeconfig() if cluster == "kubeconfig" else None,
            redis_url=text("REDIS_URL") or None,
            echo=flag("VERBOSE", False),
        )
    except ImproperlyConfigured as error:
        raise Refused(str(error)) from error
    if cluster == "incluster" and not text("KUBERNETES_SERVICE_HOST"):
        raise Refused("CLUSTER=incluster works inside a pod only: KUBERNETES_SERVICE_HOST is not set.")
    return options


def _kubeconfig() -> Path:
    path = Path(text("KUBECONFIG", "~/.kube/config")).expanduser().absolute()
    if not path.is_file():
        raise Refused(f"CLUSTER=kubeconfig needs a kubeconfig, and KUBECONFIG={path} is not a file.")
    if not os.access(path, os.R_OK):
        raise Refused(f"CLUSTER=kubeconfig needs a kubeconfig, and KUBECONFIG={path} cannot be read.")
    return path


def check_port(options: Options) -> None:
    """Raises Refused where the port cannot be listened on."""
    deadline_s = time.monotonic() + PORT_PATIENCE_S
    while True:
        try:
            family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((options.host, options.port))
                return
        except socket.gaierror as error:
            raise Refused(f"HOST={options.host} is not an address of this machine.") from error
        except OSError as error:
            if time.monotonic() < deadline_s and error.errno == errno.EADDRINUSE:
                time.sleep(0.1)
                continue
            raise Refused(
                f"PORT={options.port} on {options.host} cannot be used: {(error.strerror or '').lower()}; "
                "stop what holds it, or name another port."
            ) from error


def check_redis(url: str) -> None:
    """Raises Refused where no Redis or Valkey answers at the URL; its password is not repeated."""
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
    except ValueError as error:
        raise Refused("REDIS_URL must begin with redis://, rediss:// or unix://.") from error
    parts = urlsplit(url)
    place = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    try:
        client.ping()
    except redis.AuthenticationError as error:
        raise Refused(f"REDIS_URL: the server at {place} refuses the name or password.") from error
    except redis.RedisError as error:
        raise Refused(f"REDIS_URL: nothing answers at {place}.") from error
    finally:
        client.close()
