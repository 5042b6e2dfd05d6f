"""A real lake in a folder: state, catalog, tables with files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mulgil import catalog, state, storage, table
from mulgil.clock import TurnedClock
from mulgil.query import Engine, QuerySettings

SETTINGS = table.TableSettings()


class Lake:
    """Tables that tests write to as delivery does."""

    def __init__(self, folder: Path) -> None:
        self.clock = TurnedClock()
        self.store = storage.LocalStore()
        self.database = state.Database(folder / "state.db")
        self.catalog = catalog.Catalog(self.database, self.store, str(folder / "lake"))
        self.catalog.declare()

    def append(self, name: str, rows: pa.Table) -> table.Table:
        """One commit; the table and its columns are made where they are missing."""
        now = self.clock.now_us()
        found = self.catalog.find(name) or table.new(name, self.catalog.location(name), rows.schema)
        found = table.evolve(found, rows.schema).table
        files = table.write_files(self.store, found, rows, SETTINGS, now) if rows.num_rows else []
        return self._swap(table.stage_append(self.store, found, files, settings=SETTINGS, now_us=now))

    def replace_all(self, name: str, rows: pa.Table) -> list[str]:
        """One commit that puts other files into the place of all; the files that are now garbage."""
        now = self.clock.now_us()
        found = self.catalog.load(name)
        old = [file.path for file in found.files()]
        files = table.write_files(self.store, found, rows, SETTINGS, now)
        self._swap(table.stage_replace(self.store, found, old, files, settings=SETTINGS, now_us=now))
        return old

    def change_schema(self, name: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """What another engine may do: a new schema of the same files (rename, drop)."""
        found = self.catalog.load(name)
        metadata = json.loads(self.store.get(str(found.metadata_location)))
        schema = json.loads(json.dumps(metadata["schemas"][-1]))
        schema["schema-id"] += 1
        change(schema["fields"])
        metadata["schemas"].append(schema)
        metadata["current-schema-id"] = schema["schema-id"]
        metadata["last-column-id"] += 100
        location = str(found.metadata_location).replace(".metadata.json", f"-{schema['schema-id']}.metadata.json")
        self.store.put(location, json.dumps(metadata).encode())
        with self.database.transaction() as transaction:
            transaction.execute(
                "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?",
                (location, name.partition(".")[2]),
            )

    def _swap(self, staged: table.Staged) -> table.Table:
        with self.database.transaction() as transaction:
            self.catalog.swap(transaction, staged, self.clock.now_us())
        self.catalog.adopt([staged])
        return staged.table


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = Lake(tmp_path)
    yield made
    made.database.close()


@pytest.fixture(params=[True, False], ids=["open", "closed"])
def engine(request: pytest.FixtureRequest, lake: Lake) -> Iterator[Engine]:
    """With and without access to other files: the answers are the same."""
    made = Engine(lake.catalog, settings=QuerySettings(external_access=request.param, threads=2))
    yield made
    made.close()


@pytest.fixture
def own(lake: Lake) -> Iterator[Engine]:
    """The engine as it is on one's own machine."""
    made = Engine(lake.catalog, settings=QuerySettings(threads=2))
    yield made
    made.close()
