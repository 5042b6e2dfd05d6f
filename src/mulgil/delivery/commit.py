"""The one transaction: tables' pointers, parts' positions, keys, ids and the ledger change together or not at all.

Whatever happens to the process, a restart reads one row per part and goes on from there: what was not committed is
polled again, what was committed is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from mulgil import catalog, table
from mulgil.catalog import Catalog
from mulgil.clock import Clock
from mulgil.delivery import keys, ledger, positions
from mulgil.delivery.outdated import Outdated
from mulgil.delivery.prepare import QUARANTINE_SCHEMA, Prepared
from mulgil.delivery.reading import TIME_PROPERTY
from mulgil.delivery.seen import Hashes, Run, Seen
from mulgil.delivery.settings import DeliverySettings
from mulgil.errors import Broken, Conflict, MulgilError
from mulgil.schema import INGESTED_AT
from mulgil.state import Database, Epoch, Fenced, Transaction

ATTEMPTS = 8

Booked = TypeVar("Booked")

TABLES = """
CREATE TABLE IF NOT EXISTS schema_event (
  at_us INTEGER NOT NULL, table_name TEXT NOT NULL, source TEXT NOT NULL, event TEXT NOT NULL,
  PRIMARY KEY (table_name, source, event)) STRICT;
"""

EVENTS_MAX = 10_000
"""So many schema events of a table are kept, and senders of ever new keys make no more."""
EVENT_CHARACTERS_MAX = 300


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

        Raises `Fenced` when another process has taken over, `Conflict` when the records must be decoded again, `Retry`
        or `Overloaded` when disk or state refuse for now: then nothing is changed. When it returns, everything is,
        whatever went wrong on the way. `Broken`: nobody can say at present which of the two it is.
        """
        now_us = self._clock.now_us()

        def book(transaction: Transaction, gained: Sequence[str]) -> Run | None:
            positions.store(transaction, source, prepared.parts.items(), now_us)
            keys.store(transaction, source, prepared.digests, now_us)
            ledger.store(transaction, source, target, prepared.entries)
            transaction.execute_many(
                "INSERT OR IGNORE INTO schema_event SELECT ?, ?, ?, ?"
                " WHERE (SELECT count(*) FROM schema_event WHERE table_name = ?) < ?",
                [
                    (now_us, target, source, event[:EVENT_CHARACTERS_MAX], target, EVENTS_MAX)
                    for event in (*gained, *prepared.notices)
                ],
            )
            return seen.store(transaction, hashes, now_us) if seen is not None and hashes is not None else None

        def adopt(run: Run | None) -> None:
            if seen is not None:
                seen.adopt(run)

        def happened() -> bool:
            # Each commit of a source moves at least one of its parts forward, and nobody else moves them.
            reached = positions.load(self._database, source)
            return all(name in reached and reached[name].place >= part.place for name, part in prepared.parts.items())

        return self.exchange(changes, book, adopt, happened)

    def exchange(
        self,
        changes: Sequence[TableChange],
        book: Callable[[Transaction, Sequence[str]], Booked],
        adopt: Callable[[Booked], object],
        happened: Callable[[], bool],
    ) -> list[str]:
        """Append to tables and book it, in one transaction; loads afresh and does it again when a table has moved.

        `adopt` must not raise. `happened` is asked whether the state holds what was booked, when a failure leaves open
        on which side of the commit it fell.
        """
        with ExitStack() as locks:
            for change in sorted(changes, key=lambda one: one.name):
                locks.enter_context(self._catalog.lock(change.name))
            written: dict[str, _Written] = {}
            for attempt in range(ATTEMPTS):
                staged: list[table.Staged] = []
                gained: list[str] = []
                booked: list[Booked] = []
                try:
                    self._stage(changes, written, staged, gained)
                    with self._database.transaction() as transaction:
                        if self._epoch is not None:
                            self._epoch.check(transaction)
                        for one in staged:
                            self._catalog.swap(transaction, one, self._clock.now_us())
                        booked.append(book(transaction, gained))
                except BaseException as error:
                    if not booked or not _answered(happened, error):
                        moved = isinstance(error, Conflict) and not isinstance(error, Fenced | Outdated)
                        if moved and attempt < ATTEMPTS - 1:
                            self._throw_away(staged, ())
                            continue
                        self._throw_away(staged, written.values())
                        raise
                    if not isinstance(error, Exception):
                        raise
                self._catalog.adopt(staged)
                adopt(booked[0])
                return gained
        raise AssertionError("unreachable")

    def widen(self, name: str, columns: Collection[str], settings: DeliverySettings) -> bool:
        """Make columns of whole numbers doubles by writing the table anew; false when it is too large or would lose
        digits, and the fractions have to be rescued. Raises as `commit` does."""
        with self._catalog.lock(name):
            found = self._catalog.find(name)
            if found is None or not table.can_be_doubles(found, columns, settings.widen_bytes_max):
                return False
            now_us = self._clock.now_us()
            staged = table.stage_doubles(self._catalog.store, found, columns, settings=self._settings, now_us=now_us)
            with self._database.transaction() as transaction:
                if self._epoch is not None:
                    self._epoch.check(transaction)
                self._catalog.swap(transaction, staged, now_us)
                transaction.execute_many(
                    "INSERT OR IGNORE INTO schema_event VALUES (?, ?, '', ?)",
                    [(now_us, name, f"column {one} widened from long to double") for one in sorted(columns)],
                )
            self._catalog.adopt([staged])
        return True

    def _stage(
        self,
        changes: Sequence[TableChange],
        written: dict[str, _Written],
        staged: list[table.Staged],
        gained: list[str],
    ) -> None:
        """Write what is not written yet, and put it onto the newest tables; fills the three."""
        now_us = self._clock.now_us()
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
            if evolution.conflicts:
                name, has, got = evolution.conflicts[0]
                raise Outdated(f"column {name} of {change.name} is {has} by now, and the rows have {got}")
            gained += [f"column {name} added" for name in evolution.added]
            gained += [f"column {name} widened" for name in evolution.widened]
            have = written.get(change.name)
            if have is None or not have.fits(evolution.table):  # where only the table has moved, the files still fit it
                if have is not None:
                    self._throw_away((), [have])
                files = table.write_files(self._catalog.store, evolution.table, change.rows, self._settings, now_us)
                have = written[change.name] = _Written(evolution.table, files)
            staged.append(
                table.stage_append(
                    self._catalog.store, evolution.table, have.files, settings=self._settings, now_us=now_us
                )
            )

    def _throw_away(self, staged: Iterable[table.Staged], written: Iterable[_Written]) -> None:
        """Files of a change that did not happen."""
        paths = [path for one in staged for path in table.abandoned(one)]
        paths += [file.path for one in written for file in one.files]
        for path in paths:
            with suppress(MulgilError):  # what is left behind harms nobody; the error that led here says more
                self._catalog.store.delete(path)


@dataclass(frozen=True)
class _Written:
    """Data files, and the table that they were written for."""

    base: table.Table
    files: list[table.DataFile]

    def fits(self, other: table.Table) -> bool:
        return bool(self.base.schema == other.schema and self.base.spec == other.spec)


def _answered(happened: Callable[[], bool], error: BaseException) -> bool:
    try:
        return happened()
    except MulgilError as unknown:
        raise Broken(
            f"a commit failed ({error}), and the state does not tell whether it happened ({unknown})",
            hint="start again: the position in the state decides",
        ) from error


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
