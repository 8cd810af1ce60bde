"""What the rehearsal workspace remembers: JSON documents in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.rehearsal.api import Document


class Store:
    """Documents by kind and id, safe to use from several threads.

    Args:
        file: The SQLite file; it is made if it isn't there.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # The server's own ends are orderly, and after a power cut a rehearsal can be repeated.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT, id TEXT, number INTEGER, body TEXT NOT NULL, PRIMARY KEY (kind, id))"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS numbers (next INTEGER NOT NULL)")
        if self._db.execute("SELECT count(*) FROM numbers").fetchone()[0] == 0:
            self._db.execute("INSERT INTO numbers VALUES (1)")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads out between a look and the change that follows from it."""
        with self._lock:
            yield

    def number(self) -> int:
        """A number that was never given before."""
        with self._lock:
            return int(self._db.execute("UPDATE numbers SET next = next + 1 RETURNING next - 1").fetchone()[0])

    def get(self, kind: str, key: object) -> Document | None:
        """A document, or ``None`` where there is none."""
        with self._lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, str(key))).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def put(self, kind: str, key: object, document: Document) -> None:
        """Keep a document; a new one comes after all others of its kind."""
        with self._lock:
            self._db.execute(
                "INSERT INTO documents VALUES (?, ?, (SELECT coalesce(max(number), 0) + 1 FROM documents), ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, str(key), json.dumps(document)),
            )

    def change(self, kind: str, key: object, how: Callable[[Document], None]) -> Document | None:
        """Change a document as nobody else does; returns it, or ``None`` where there is none."""
        with self._lock:
            document = self.get(kind, key)
            if document is not None:
                how(document)
                self.put(kind, key, document)
            return document

    def delete(self, kind: str, key: object) -> bool:
        """Forget a document; tells whether it was there."""
        with self._lock:
            return self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, str(key))).rowcount > 0

    def all(self, kind: str) -> list[Document]:
        """Every document of a kind, in the order in which they came."""
        return [document for _, document in self.items(kind)]

    def items(self, kind: str) -> list[tuple[str, Document]]:
        """Every document of a kind with its id, in the order in which they came."""
        with self._lock:
            rows = self._db.execute("SELECT id, body FROM documents WHERE kind = ? ORDER BY number", (kind,)).fetchall()
        return [(row[0], json.loads(row[1])) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
