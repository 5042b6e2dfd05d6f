"""Looks at the lake while it fills, as any reader could: the catalog's counts and the ledger.

Called by `demo.py` several times a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mulgil import catalog
from mulgil.app.books import balance
from mulgil.app.lake import Lake
from mulgil.delivery import ledger


@dataclass(frozen=True, slots=True)
class SeenTable:
    """One source's table."""

    rows: int = 0
    """What `SELECT count(*)` would say."""
    files: int = 0
    size_bytes: int = 0
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """The lake at one moment."""

    tables: Mapping[str, SeenTable]
    """By source."""
    quarantined: Mapping[str, int]
    """By source."""
    records_in: int
    rows_out: int
    kept_back: int
    deduplicated: int
    """Sums of the ledger."""
    differences: tuple[str, ...]
    """Where the books do not balance."""


def look(lake: Lake) -> Seen:
    """Everything that is shown."""
    sources = {name: source.table for name, source in lake.project.sources.items()}
    kept = {name: catalog.quarantine_of(table) for name, table in sources.items()}
    found = lake.catalog.load_all([*sources.values(), *kept.values()])
    booked = ledger.Entry()
    for _, _, _, entry in ledger.read(lake.database):
        booked.add(entry)
    tables = {}
    for name, table in sources.items():
        one = found.get(table)
        tables[name] = (
            SeenTable()
            if one is None
            else SeenTable(one.record_count, one.file_count, one.size_bytes, tuple(one.arrow_schema.names))
        )
    return Seen(
        tables,
        {name: found[table].record_count if table in found else 0 for name, table in kept.items()},
        booked.records_in,
        booked.rows_out,
        booked.quarantined,
        booked.deduplicated,
        tuple(map(str, balance(lake))),
    )
