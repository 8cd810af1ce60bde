"""What the rehearsal workspace remembers: JSON documents in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.rehearsal.api import Document, invalid, missing

_ABSENT = {
    "clusters": (missing, "Cluster {} does not exist"),
    "pools": (missing, "Can't find an instance pool with id: {}"),
    "repos": (missing, "Repo {} could not be found."),
    # Databricks answers these two with 400, and the provider looks for the words.
    "jobs": (invalid, "Job {} does not exist."),
    "runs": (invalid, "Run {} does not exist."),
}


class Store:
    """Documents by kind and id, safe to use from several threads.

    Args:
        file: The SQLite file; it is made if it isn't there.
    """

    def __init__(self, file: Path) -> None:
        self.lock = threading.RLock()
        """Keeps other threads out between a look and the change that follows from it."""
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # The server's own ends are orderly, and after a power cut a rehearsal can be repeated.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT, id TEXT, number INTEGER, body TEXT NOT NULL, PRIMARY KEY (kind, id))"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS numbers (next INTEGER NOT NULL)")
        self._db.execute("INSERT INTO numbers SELECT 1 WHERE NOT EXISTS (SELECT * FROM numbers)")

    def _rows(self, statement: str, *values: str) -> list[Any]:
        with self.lock:
            return self._db.execute(statement, values).fetchall()

    def number(self) -> int:
        """A number that was never given before."""
        return int(self._rows("UPDATE numbers SET next = next + 1 RETURNING next - 1")[0][0])

    def get(self, kind: str, key: object) -> Document | None:
        """A document, or ``None`` where there is none."""
        rows = self._rows("SELECT body FROM documents WHERE kind = ? AND id = ?", kind, str(key))
        return dict(json.loads(rows[0][0])) if rows else None

    def find(self, kind: str, key: object) -> Document:
        """A document that a request names: one that is missing is an `ApiError`, in Databricks' words."""
        document = self.get(kind, key)
        if document is None:
            error, message = _ABSENT[kind]
            raise error(message.format(key))
        return document

    def put(self, kind: str, key: object, document: Document) -> None:
        """Keep a document; a new one comes after all others of its kind."""
        self._rows(
            "INSERT INTO documents VALUES (?, ?, (SELECT coalesce(max(number), 0) + 1 FROM documents), ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            kind,
            str(key),
            json.dumps(document),
        )

    def change(self, kind: str, key: object, how: Callable[[Document], None]) -> None:
        """Change a document as nobody else does, if it is there."""
        with self.lock:
            document = self.get(kind, key)
            if document is not None:
                how(document)
                self.put(kind, key, document)

    def delete(self, kind: str, key: object) -> None:
        """Forget a document."""
        self._rows("DELETE FROM documents WHERE kind = ? AND id = ?", kind, str(key))

    def all(self, kind: str) -> list[Document]:
        """Every document of a kind, in the order in which they came."""
        return [document for _, document in self.items(kind)]

    def items(self, kind: str) -> list[tuple[str, Document]]:
        """Every document of a kind with its id, in the order in which they came."""
        rows = self._rows("SELECT id, body FROM documents WHERE kind = ? ORDER BY number", kind)
        return [(row[0], json.loads(row[1])) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._db.close()
