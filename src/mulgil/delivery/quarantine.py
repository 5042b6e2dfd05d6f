"""What could not be delivered, and its way back.

A record lies either in its table or in the table's quarantine, never in both: `redrive` moves it in one transaction, so
that doing it twice, or in two places at once, moves nothing twice. It keeps its original `_source` and `_position`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil import catalog, table
from mulgil.catalog import Catalog
from mulgil.clock import Clock
from mulgil.delivery import ledger
from mulgil.delivery.commit import changes_of
from mulgil.delivery.outdated import Outdated
from mulgil.delivery.prepare import QUARANTINE_SCHEMA, Prepared
from mulgil.delivery.reading import Reading
from mulgil.delivery.seen import Hashes, Seen, hashed
from mulgil.delivery.settings import Target
from mulgil.errors import Conflict, Missing, MulgilError
from mulgil.record import Records
from mulgil.schema import INGESTED_AT, POSITION, SOURCE, Format
from mulgil.state import Database

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Redriven:
    """What a redrive did."""

    moved: int
    """Records that are rows of the table now."""
    deduplicated: int
    """Records whose event id had come in by another way meanwhile; they are dropped."""
    left: int
    """Records that still do not fit."""


def tables(lake: Catalog) -> list[str]:
    """All quarantine tables."""
    return [name for name in lake.names() if name.endswith(catalog.QUARANTINE_SUFFIX)]


def read(lake: Catalog, target: str) -> pa.Table:
    """All records in a table's quarantine, oldest first. Raises `Missing` where there never was one."""
    kept = lake.find(catalog.quarantine_of(target))
    if kept is None:
        raise Missing(f"nothing of {target} was ever quarantined", hint="`mulgil quarantine list` shows all")
    return table.scan(lake.store, kept).select(QUARANTINE_SCHEMA.names).sort_by([(INGESTED_AT, "ascending")])


def redrive(
    target: str,
    sources: Mapping[str, Target],
    *,
    lake: Catalog,
    database: Database,
    settings: table.TableSettings,
    clock: Clock,
    seen: Mapping[str, Seen],
) -> Redriven:
    """Decode a table's quarantine again, as its sources are declared now, and move what fits.

    Raises `Missing` without a quarantine, `Conflict` when the tables move faster than this can follow.
    """
    total = Redriven(0, 0, 0)
    records = read(lake, target)
    for source in pc.unique(records[SOURCE]).to_pylist():
        if source not in sources:
            total = Redriven(total.moved, total.deduplicated, total.left + _of(records, source).num_rows)
            continue
        for attempt in range(ATTEMPTS):
            move = _Move(target, source, sources[source], lake, settings, clock, seen.get(source))
            try:
                one = move.run(database)
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                total = Redriven(total.moved + one.moved, total.deduplicated + one.deduplicated, total.left + one.left)
                break
    return total


class _Move:
    """One try to move one source's records, on the tables as they are now."""

    def __init__(
        self,
        target: str,
        source: str,
        declared: Target,
        lake: Catalog,
        settings: table.TableSettings,
        clock: Clock,
        seen: Seen | None,
    ) -> None:
        self._target = target
        self._source = source
        self._declared = declared
        self._lake = lake
        self._settings = settings
        self._clock = clock
        self._seen = seen
        self._kept = lake.load(catalog.quarantine_of(target))
        self._records = table.scan(lake.store, self._kept).select(QUARANTINE_SCHEMA.names)
        self._mine = np.flatnonzero(pc.equal(self._records[SOURCE], source).to_numpy(zero_copy_only=False))
        self._hashes: Hashes | None = None
        self._reading = Reading(lake, declared)
        self._files: list[str] = []

    def run(self, database: Database) -> Redriven:
        rows, gone = self._decode()
        rows, dropped = self._without_known(rows)
        moved = rows.num_rows if rows is not None else 0
        if not len(gone):
            return Redriven(0, 0, len(self._mine))
        with self._lake.lock(self._target), self._lake.lock(self._kept.name):
            self._exchange(database, gone, rows, dropped)
        return Redriven(moved, dropped.num_rows if dropped is not None else 0, len(self._mine) - len(gone))

    def _exchange(
        self, database: Database, gone: npt.NDArray[np.int64], rows: pa.Table | None, dropped: pa.Table | None
    ) -> None:
        """Both tables and the books, in one transaction."""
        staged: list[table.Staged] = []
        try:
            staged.append(self._rest(gone))
            if rows is not None and rows.num_rows:
                staged.append(self._append(rows))
            with database.transaction() as transaction:
                now_us = self._clock.now_us()
                for one in staged:
                    self._lake.swap(transaction, one, now_us)
                ledger.store(transaction, self._source, self._target, self._entries(gone, rows, dropped))
                if self._seen is not None and self._hashes is not None:
                    self._seen.store(transaction, self._hashes, now_us)
        except BaseException:
            # A commit that failed may still have happened, and then the files are in use. Raises where nobody knows.
            if not staged or not self._lake.landed(staged):
                for path in [*self._files, *(path for one in staged for path in table.abandoned(one))]:
                    with suppress(MulgilError):
                        self._lake.store.delete(path)
            raise
        self._lake.adopt(staged)

    def _decode(self) -> tuple[pa.Table | None, npt.NDArray[np.int64]]:
        """The rows that fit now, and the indexes in the quarantine of the records they come from."""
        mine = self._records.take(self._mine)
        tables, gone = [], []
        for text in pc.unique(mine["format"]).to_pylist():
            same = pc.is_null(mine["format"]) if text is None else pc.equal(mine["format"], text)
            index = np.flatnonzero(pc.fill_null(same, False).to_numpy(zero_copy_only=False))
            part = mine.take(index)
            records = Records.of_list(part["raw"].to_pylist())
            decoded = self._reading.decode(None if text is None else Format.of(json.loads(text)), records)
            good = part.take(decoded.index)
            rows = decoded.rows
            for name in (SOURCE, POSITION, INGESTED_AT):
                rows = rows.append_column(name, good[name])
            tables.append(rows)
            gone.append(self._mine[index[decoded.index]])
        if not gone:
            return None, np.zeros(0, dtype=np.int64)
        return pa.concat_tables(tables, promote_options="permissive"), np.concatenate(gone)

    def _without_known(self, rows: pa.Table | None) -> tuple[pa.Table | None, pa.Table | None]:
        """Split off rows whose event id is in the lake already."""
        column = self._declared.event_id
        if rows is None or self._seen is None or column is None or column not in rows.column_names:
            return rows, None
        hashes, valid = hashed(rows[column].combine_chunks())
        fresh = np.ones(rows.num_rows, dtype=bool)
        fresh[valid] = self._seen.fresh(hashes[valid])
        self._hashes = hashes[valid & fresh]
        return rows.filter(pa.array(fresh)), rows.filter(pa.array(~fresh))

    def _rest(self, gone: npt.NDArray[np.int64]) -> table.Staged:
        """The newest quarantine without them; what a flow has added since stays where it is."""
        keep = np.ones(self._records.num_rows, dtype=bool)
        keep[gone] = False
        left = self._records.filter(pa.array(keep))
        newest = self._lake.load(self._kept.name)
        files = self._write(newest, left) if left.num_rows else []
        removed = [file.path for file in self._kept.files()]
        return table.stage_replace(
            self._lake.store,
            newest,
            removed,
            files,
            settings=self._settings,
            now_us=self._clock.now_us(),
            operation="overwrite",
        )

    def _append(self, rows: pa.Table) -> table.Staged:
        found = self._lake.find(self._target)
        if found is None:
            prepared = Prepared(rows, None, {}, {})
            change = changes_of(prepared, self._target, self._declared.partition, self._reading.time)[0]
            found = table.new(
                self._target,
                self._lake.location(self._target),
                rows.schema,
                partition=change.partition,
                properties=change.properties,
            )
        evolution = table.evolve(found, rows.schema)
        if evolution.conflicts:
            raise Outdated(f"{self._target} was changed by somebody else meanwhile")
        files = self._write(evolution.table, rows)
        now_us = self._clock.now_us()
        return table.stage_append(self._lake.store, evolution.table, files, settings=self._settings, now_us=now_us)

    def _write(self, base: table.Table, rows: pa.Table) -> list[table.DataFile]:
        files = table.write_files(self._lake.store, base, rows, self._settings, self._clock.now_us())
        self._files += [file.path for file in files]
        return files

    def _entries(
        self, gone: npt.NDArray[np.int64], rows: pa.Table | None, dropped: pa.Table | None
    ) -> dict[int, ledger.Entry]:
        """The books of the hours in which the records came in."""
        entries: dict[int, ledger.Entry] = {}
        for moved, what, sign in (
            (self._records.take(gone), "quarantined", -1),
            (rows, "rows_out", 1),
            (dropped, "deduplicated", 1),
        ):
            if moved is None:
                continue
            hours = moved[INGESTED_AT].cast(pa.int64()).to_numpy() // ledger.HOUR_US * ledger.HOUR_US
            for hour, count in zip(*np.unique(hours, return_counts=True), strict=True):
                entry = entries.setdefault(int(hour), ledger.Entry())
                setattr(entry, what, getattr(entry, what) + sign * int(count))
        return entries


def _of(records: pa.Table, source: str) -> pa.Table:
    return records.filter(pc.equal(records[SOURCE], source))
