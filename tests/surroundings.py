"""The servers and the environment that a test process runs in, chosen before Django reads its settings."""

import os
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import environ
import psycopg

from tests.postgres import Postgres, find_binaries
from tests.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
_READ_BY_SETTINGS = re.compile(r'\b(?:text|words|flag|number|integer|choice)\(\s*"([A-Z0-9_]+)"')


def variables_of_the_settings() -> list[str]:
    """The names of all environment variables that settings.py reads."""
    return sorted(set(_READ_BY_SETTINGS.findall((ROOT / "buildportal" / "settings.py").read_text())))


@dataclass(frozen=True)
class Surroundings:
    """What one test process has to itself; a pytest-xdist worker shares PostgreSQL with its controller."""

    folder: Path
    valkey: Valkey
    postgres: Postgres | None

    def remove(self) -> None:
        self.valkey.remove()
        if self.postgres:
            self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare() -> Surroundings:
    """Start what the tests need and write the portal's environment variables.

    DATABASE_URL, where given, is used: its server gets a database `test_…`, the named one is not touched.
    Else TEST_DATABASE says which to make: `sqlite` (default) or `postgresql`.
    """
    folder = Path(tempfile.mkdtemp(prefix="bp-tests-"))
    (folder / "static").mkdir()  # WhiteNoise warns where there is none
    database_url, postgres = _database(folder)
    valkey = Valkey()
    valkey.start()
    for name in variables_of_the_settings():
        os.environ.pop(name, None)  # a developer's own settings must not change a test
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "buildportal.settings",
            "STATE_DIR": str(folder),
            "DATABASE_URL": database_url,
            "REDIS_URL": valkey.url,
            "CLUSTER": "kubeconfig",
            "KUBECONFIG": str(folder / "no-cluster-was-given"),
            "SECRET_KEY": "for-tests-only-" + "0123456789" * 5,
            "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
            "SECURE_COOKIES": "0",
            "SERVE_UNCOLLECTED_STATIC": "1",
        }
    )
    return Surroundings(folder, valkey, postgres)


def _database(folder: Path) -> tuple[str, Postgres | None]:
    """The URL for Django, and the server if it was started here."""
    given = os.environ.get("DATABASE_URL")
    if given:  # also by the controller of pytest-xdist to its workers
        return given, None
    kind = os.environ.get("TEST_DATABASE", "sqlite")
    if kind == "sqlite":
        return f"sqlite:///{folder}/portal.sqlite3", None
    if kind != "postgresql":
        raise SystemExit(f"TEST_DATABASE must be sqlite or postgresql; it is {kind!r}.")
    postgres = Postgres(find_binaries())
    postgres.start()
    return postgres.url, postgres


def database_url_of(database: dict[str, object]) -> str:
    """The DATABASE_URL under which another process finds an entry of DATABASES, the test one included."""
    if "sqlite" in str(database["ENGINE"]):
        return f"sqlite:///{database['NAME']}"
    login = ":".join(str(database[part]) for part in ("USER", "PASSWORD") if database.get(part))
    host = str(database.get("HOST") or "localhost")
    if host.startswith("/"):
        return f"postgres://{login}@/{host}/{database['NAME']}"
    return f"postgres://{login}@{host}:{database.get('PORT') or 5432}/{database['NAME']}"


def fresh_database_url() -> str:
    """A new, empty database for a whole portal; empty where that is a SQLite file in its own folder."""
    url = os.environ["DATABASE_URL"]
    if url.startswith("sqlite"):
        return ""
    name = f"portal_{secrets.token_hex(6)}"
    config = environ.Env.db_url_config(url)
    with psycopg.connect(
        host=config["HOST"],
        port=config["PORT"] or None,
        user=config["USER"],
        password=config["PASSWORD"] or None,
        dbname=config["NAME"],
        autocommit=True,
        connect_timeout=5,
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{url.rpartition('/')[0]}/{name}"
