"""The one transaction: tables' pointers, parts' positions, keys, ids and the ledger change together or not at all.

Whatever happens to the process, a restart reads one row per part and goes on from there: what was not committed is
polled again, what was committed is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from mulgil import catalog, table
from mulgil.catalog import Catalog
from mulgil.clock import Clock
from mulgil.delivery import keys, ledger, positions
from mulgil.delivery.prepare import QUARANTINE_SCHEMA, Prepared
from mulgil.delivery.reading import TIME_PROPERTY
from mulgil.delivery.seen import Hashes, Run, Seen
from mulgil.errors import Conflict, MulgilError
from mulgil.schema import INGESTED_AT
from mulgil.state import Database, Epoch, Fenced, Transaction

ATTEMPTS = 8

Booked = TypeVar("Booked")

TABLES = """
CREATE TABLE IF NOT EXISTS schema_event (
  at_us INTEGER NOT NULL, table_name TEXT NOT NULL, source TEXT NOT NULL, event TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class TableChange:
    """Rows for one table, and how to create it where it does not exist."""

    name: str
    rows: pa.Table
    partition: tuple[str, ...]
    properties: dict[str, str]


class Committer:
    """Commits deliveries of all flows of one process."""

    def __init__(
        self,
        database: Database,
        tables: Catalog,
        epoch: Epoch | None,
        settings: table.TableSettings,
        clock: Clock,
    ) -> None:
        """`epoch` None: a tool beside the running process, which the pointers' compare-and-swap keeps in order."""
        self._database = database
        self._catalog = tables
        self._epoch = epoch
        self._settings = settings
        self._clock = clock

    def commit(
        self,
        source: str,
        prepared: Prepared,
        changes: Sequence[TableChange],
        target: str,
        seen: Seen | None = None,
        hashes: Hashes | None = None,
    ) -> list[str]:
        """Make a delivery part of the lake; what the tables' schemas gained by it, in words.

        Raises `Fenced` when another process has taken over, `Retry` when disk or state refuse for now: then nothing is
        changed, and the same blocks may be polled again.
        """
        now_us = self._clock.now_us()

        def book(transaction: Transaction, gained: Sequence[str]) -> Run | None:
            positions.store(transaction, source, prepared.parts.items(), now_us)
            keys.store(transaction, source, prepared.digests, now_us)
            ledger.store(transaction, source, target, prepared.entries)
            transaction.execute_many(
                "INSERT INTO schema_event VALUES (?, ?, ?, ?)",
                [(now_us, target, source, event) for event in (*gained, *prepared.notices)],
            )
            return seen.store(transaction, hashes, now_us) if seen is not None and hashes is not None else None

        def adopt(run: Run | None) -> None:
            if seen is not None:
                seen.adopt(run, now_us)

        return self.exchange(changes, book, adopt)

    def exchange(
        self,
        changes: Sequence[TableChange],
        book: Callable[[Transaction, Sequence[str]], Booked],
        adopt: Callable[[Booked], object],
    ) -> list[str]:
        """Append to tables and book it, in one transaction; loads afresh and does it again when a table has moved."""
        with ExitStack() as locks:
            for change in sorted(changes, key=lambda one: one.name):
                locks.enter_context(self._catalog.lock(change.name))
            written: dict[str, tuple[table.Table, list[table.DataFile]]] = {}
            for attempt in range(ATTEMPTS):
                staged, gained = self._stage(changes, written)
                try:
                    with self._database.transaction() as transaction:
                        if self._epoch is not None:
                            self._epoch.check(transaction)
                        for one in staged:
                            self._catalog.swap(transaction, one, self._clock.now_us())
                        booked = book(transaction, gained)
                except Fenced:
                    self._throw_away(staged, written)
                    raise
                except Conflict:
                    self._throw_away(staged, {})
                    if attempt == ATTEMPTS - 1:
                        raise
                    continue
                except MulgilError:
                    # A commit that failed may still have happened: only then are the files in use.
                    if not staged or not self._catalog.landed(staged):
                        self._throw_away(staged, written)
                    raise
                self._catalog.adopt(staged)
                adopt(booked)
                return gained
        raise AssertionError("unreachable")

    def _stage(
        self, changes: Sequence[TableChange], written: dict[str, tuple[table.Table, list[table.DataFile]]]
    ) -> tuple[list[table.Staged], list[str]]:
        """Write what is not written yet, and put it onto the newest tables."""
        now_us = self._clock.now_us()
        staged: list[table.Staged] = []
        gained: list[str] = []
        for change in changes:
            base = self._catalog.find(change.name)
            if base is None:
                base = table.new(
                    change.name,
                    self._catalog.location(change.name),
                    change.rows.schema,
                    partition=change.partition,
                    properties=change.properties,
                )
            evolution = table.evolve(base, change.rows.schema)
            gained += [f"column {name} added" for name in evolution.added]
            gained += [f"column {name} widened" for name in evolution.widened]
            evolved = evolution.table
            if change.name in written and written[change.name][0].schema == evolved.schema:
                files = written[change.name][1]  # the table moved, but these files still fit it
            else:
                files = table.write_files(self._catalog.store, evolved, change.rows, self._settings, now_us)
                written[change.name] = (evolved, files)
            staged.append(
                table.stage_append(self._catalog.store, evolved, files, settings=self._settings, now_us=now_us)
            )
        return staged, gained

    def _throw_away(
        self,
        staged: Sequence[table.Staged],
        written: dict[str, tuple[table.Table, list[table.DataFile]]],
    ) -> None:
        """Files of a change that did not happen."""
        paths = [path for one in staged for path in table.abandoned(one)]
        paths += [file.path for _, files in written.values() for file in files]
        for path in paths:
            self._catalog.store.delete(path)


def changes_of(prepared: Prepared, target: str, partition: tuple[str, ...], time: str | None) -> list[TableChange]:
    """The tables that a delivery changes."""
    changes = []
    if prepared.rows is not None:
        by = partition or (f"day({time or INGESTED_AT})",)
        properties = {TIME_PROPERTY: time} if time else {}
        changes.append(TableChange(target, prepared.rows, by, properties))
    if prepared.quarantine is not None:
        kept = prepared.quarantine.cast(QUARANTINE_SCHEMA)
        changes.append(TableChange(catalog.quarantine_of(target), kept, (f"day({INGESTED_AT})",), {}))
    return changes
