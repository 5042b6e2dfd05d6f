"""SQLite as the state: one file, durable transactions, readers that never wait for the writer."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mulgil.errors import Broken, Retry

BUSY_TIMEOUT_MS = 10_000


class Transaction:
    """What may be done inside one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows, all of them."""
        return self._connection.execute(sql, values).fetchall()

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""
        self._connection.executemany(sql, rows)

    def change(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run one statement; how many rows it changed."""
        return self._connection.execute(sql, values).rowcount


class Database:
    """The state in a SQLite file. Safe to use from many threads and processes; one transaction writes at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._local = threading.local()
        self._connections: set[weakref.finalize[..., _Held]] = set()
        self._guard = threading.Lock()
        self._writing = threading.RLock()
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)

    def declare(self, ddl: str) -> None:
        """Create a room's tables where they are missing."""
        with self._writing, _named(self.path):
            self._connection().executescript(ddl)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing, on disk when the block is left. Raises `Retry` when another process holds it too long."""
        with self._writing, _named(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A consistent view of everything, which never waits for a writer."""
        with _named(self.path):
            connection = self._connection()
            if connection.in_transaction:  # inside our own transaction: its view is the right one
                yield Transaction(connection)
                return
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                _roll_back(connection)

    def version(self) -> int:
        """A number that changes when another connection has written; cheap enough to ask every second."""
        with _named(self.path):
            return int(self._connection().execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close every thread's connection."""
        with self._guard:
            held, self._connections = self._connections, set()
        for close in held:
            close()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            held = _Held(self._connect())
            close = weakref.finalize(held, held.connection.close)  # when the thread has ended, or at `close`
            self._local.held = held
            with self._guard:
                self._connections = {one for one in self._connections if one.alive} | {close}
        return held.connection

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            if not self._read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may forget the last commits
        except BaseException:
            connection.close()
            raise
        return connection


class _Held:
    """A thread's connection. It goes when the thread does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # SQLite rolls back by itself where the disk is full or fails
        connection.execute("ROLLBACK")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give SQLite's errors the name of what the caller does next."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise Retry("the state is busy with another process", where=str(path)) from error
        if "full" in text or "disk I/O" in text:
            raise Retry(f"the state cannot be written: {text}", where=str(path), hint="free some disk space") from error
        if "unable to open" in text:
            raise Broken(
                "the state cannot be opened",
                where=str(path),
                hint="does its folder exist, and may this user read and write there?",
            ) from error
        if "readonly" in text:
            raise Broken("the state cannot be written", where=str(path), hint="may this user write there?") from error
        raise
    except sqlite3.DatabaseError as error:
        if "malformed" in str(error) or "not a database" in str(error):
            raise Broken(f"the state is damaged: {error}", where=str(path), hint="restore it from a backup") from error
        raise
