"""The cluster's memory on disk, in one SQLite file; interprets nothing of what it keeps."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from devcluster.objects import Obj, name_of, namespace_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pod_states (uid TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Journal:
    """Each write is one transaction: what a client was told is on disk, also after SIGKILL.

    WAL with synchronous=NORMAL does not wait for the disk at each commit; a crash of the machine (not of the
    process) may lose the last moments, which is good enough for a stand-in.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def version(self) -> int:
        """The last resourceVersion that was given out; 0 in a new cluster."""
        row = self._db.execute("SELECT value FROM counters WHERE name = 'version'").fetchone()
        return int(row[0]) if row else 0

    def objects(self) -> Iterator[tuple[str, Obj]]:
        for resource, body in self._db.execute("SELECT resource, body FROM objects"):
            yield resource, msgspec.json.decode(body)

    def pod_states(self) -> Iterator[bytes]:
        for (body,) in self._db.execute("SELECT body FROM pod_states"):
            yield body

    def put_version(self, version: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO counters VALUES ('version', ?)", (version,))

    def put(self, resource: str, obj: Obj, version: int) -> None:
        self._db.execute("BEGIN")
        self._db.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
            (resource, namespace_of(obj), name_of(obj), msgspec.json.encode(obj)),
        )
        self.put_version(version)
        self._db.execute("COMMIT")

    def drop(self, resource: str, obj: Obj, version: int) -> None:
        self._db.execute("BEGIN")
        self._db.execute(
            "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
            (resource, namespace_of(obj), name_of(obj)),
        )
        self.put_version(version)
        self._db.execute("COMMIT")

    def put_pod_state(self, uid: str, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO pod_states VALUES (?, ?)", (uid, body))

    def drop_pod_state(self, uid: str) -> None:
        self._db.execute("DELETE FROM pod_states WHERE uid = ?", (uid,))
