"""Tables by name, their pointers kept in the state as PyIceberg's SQL catalog keeps them.

Format: the tables `iceberg_tables` and `iceberg_namespace_properties` of the Iceberg JDBC catalog, which PyIceberg's
`SqlCatalog` reads as they are (`load_catalog("mulgil", type="sql", uri="sqlite:///state.db")`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from mulgil import storage, table
from mulgil.catalog.name import checked_name
from mulgil.errors import Conflict, Missing
from mulgil.state import Database, Transaction

CATALOG_NAME = "mulgil"
SWEPT_MAX = 10_000
"""Files that one sweep deletes at most."""

TABLES = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
  catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
  metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
  PRIMARY KEY (catalog_name, table_namespace, table_name));
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
  catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
  property_value VARCHAR(1000) NOT NULL,
  PRIMARY KEY (catalog_name, namespace, property_key));
CREATE TABLE IF NOT EXISTS table_garbage (
  table_full_name TEXT NOT NULL, path TEXT NOT NULL, added_sequence INTEGER NOT NULL, removed_sequence INTEGER NOT NULL,
  since_us INTEGER NOT NULL, PRIMARY KEY (table_full_name, path)) STRICT;
"""


class Catalog:
    """Which tables there are. Safe to use from many threads."""

    def __init__(self, database: Database, store: storage.Store, lake: str) -> None:
        """`lake` is the folder or URL under which each table gets `<database>/<table>`."""
        self._database = database
        self.store = store
        self._lake = lake.rstrip("/")
        self._loaded: dict[str, table.Table] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()

    def declare(self) -> None:
        """Create the catalog's tables in the state where they are missing."""
        self._database.declare(TABLES)

    def location(self, name: str) -> str:
        """Where a table of this name lies."""
        return f"{self._lake}/{checked_name(name).replace('.', '/')}"

    def lock(self, name: str) -> threading.RLock:
        """Held by whoever changes the table in this process; other processes are met by `Conflict` at the swap."""
        with self._guard:
            return self._locks.setdefault(name, threading.RLock())

    def names(self) -> list[str]:
        """All tables, sorted."""
        with self._database.read() as read:
            rows = read.execute(
                "SELECT table_namespace || '.' || table_name FROM iceberg_tables WHERE catalog_name = ? ORDER BY 1",
                (CATALOG_NAME,),
            )
        return [row[0] for row in rows]

    def elsewhere(self) -> tuple[str, str] | None:
        """A table that lies in another lake than this one, and that lake: the project was moved or copied."""
        with self._database.read() as read:
            rows = read.execute(
                "SELECT table_namespace || '.' || table_name, metadata_location FROM iceberg_tables"
                " WHERE catalog_name = ? ORDER BY 1",
                (CATALOG_NAME,),
            )
        for name, location in rows:
            lake = location.rsplit("/", 4)[0]  # <lake>/<database>/<table>/metadata/<file>
            if lake != self._lake and Path(lake).resolve() != Path(self._lake).resolve():
                return name, lake
        return None

    def load(self, name: str) -> table.Table:
        """The table as it is now. Raises `Missing`."""
        found = self.find(name)
        if found is None:
            raise Missing(f"there is no table {name}", hint="`mulgil tables` lists them")
        return found

    def find(self, name: str) -> table.Table | None:
        """The table as it is now, or None where there is none."""
        return self.load_all([name]).get(name)

    def load_all(self, names: Iterable[str]) -> dict[str, table.Table]:
        """Those of the tables that exist, as they were together at one moment."""
        with self._database.read() as read:
            locations = {name: location for name in names if (location := self._pointer(read, name)) is not None}
        return {name: self._at(name, location) for name, location in locations.items()}

    def swap(self, transaction: Transaction, staged: table.Staged, now_us: int) -> None:
        """Make a staged change the table, in the caller's transaction. Raises `Conflict` if it is not the newest."""
        name = checked_name(staged.table.name)
        namespace, short = name.split(".")
        after = staged.table.metadata_location
        if staged.before is None:
            taken = self._pointer(transaction, name) is not None
            if not taken:
                transaction.execute(
                    "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true')",
                    (CATALOG_NAME, namespace),
                )
                transaction.execute(
                    "INSERT INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE')",
                    (CATALOG_NAME, namespace, short, after),
                )
        else:
            taken = not transaction.change(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = metadata_location"
                " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
                (after, CATALOG_NAME, namespace, short, staged.before),
            )
        if taken:
            raise Conflict(f"{name} was changed by somebody else meanwhile", hint="it is loaded afresh and done again")
        transaction.execute_many(
            "INSERT OR REPLACE INTO table_garbage VALUES (?, ?, ?, ?, ?)",
            [(name, one.path, one.added_sequence, one.removed_sequence, now_us) for one in staged.garbage],
        )

    def landed(self, staged: Sequence[table.Staged]) -> bool:
        """Whether the tables have been through these changes: asked when a commit's outcome is unknown."""
        now = self.load_all(one.table.name for one in staged)
        for one in staged:
            found = now.get(one.table.name)
            past = [] if found is None else [log["metadata-file"] for log in found.metadata["metadata-log"]]
            if found is None or one.table.metadata_location not in (found.metadata_location, *past):
                return False
        return True

    def adopt(self, staged: Iterable[table.Staged]) -> None:
        """Remember the tables that were just committed, so that they need not be read again."""
        with self._guard:
            for one in staged:
                self._loaded[one.table.name] = one.table

    def sweep(self, name: str, before_us: int) -> int:
        """Delete files that no kept snapshot can see and that became garbage before `before_us`; how many."""
        with self._database.read() as read:
            rows = read.execute(
                "SELECT path, added_sequence, removed_sequence FROM table_garbage"
                " WHERE table_full_name = ? AND since_us < ?",
                (name, before_us),
            )
        if not rows:
            return 0
        kept = [snapshot.sequence_number for snapshot in self.load(name).snapshots()]
        free = table.sweepable([table.Garbage(*row) for row in rows], kept)[:SWEPT_MAX]
        for one in free:
            self.store.delete(one.path)
        with self._database.transaction() as transaction:
            transaction.execute_many(
                "DELETE FROM table_garbage WHERE table_full_name = ? AND path = ?", [(name, one.path) for one in free]
            )
        return len(free)

    def _at(self, name: str, location: str) -> table.Table:
        with self._guard:
            known = self._loaded.get(name)
        if known is not None and known.metadata_location == location:
            return known
        loaded = table.load(self.store, name, location)
        with self._guard:
            self._loaded[name] = loaded
        return loaded

    def _pointer(self, read: Transaction, name: str) -> str | None:
        namespace, _, short = name.partition(".")
        rows = read.execute(
            "SELECT metadata_location FROM iceberg_tables"
            " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
            (CATALOG_NAME, namespace, short),
        )
        return rows[0][0] if rows else None
