"""The books: what came in, went out, was kept back and was not readable, per source, table and hour of arrival.

Entries change in the transaction that commits the rows they count. `check` compares them with facts that are counted
elsewhere: the tables' own record counts, and the positions that sources reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields

from mulgil.state import Database, Transaction

HOUR_US = 3_600_000_000


@dataclass(slots=True)
class Entry:
    """What is counted; an entry of the ledger is the sum of all commits of its hour."""

    bytes_read: int = 0
    """Bytes of records that were taken in for the first time."""
    bytes_skipped: int = 0
    """Bytes of files that were passed over: before `start: end`, header lines, and what was unreadable before a record
    that was read (which `bytes_unreadable` counts, too)."""
    bytes_unreadable: int = 0
    """Bytes that existed and were gone or damaged before they could be read."""
    records_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    """Records that were in the lake already: sent again, or with a key or event id that is known."""

    def add(self, other: Entry) -> None:
        """Sum up."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


COUNTED = tuple(one.name for one in fields(Entry))

TABLES = f"""
CREATE TABLE IF NOT EXISTS ledger (
  source TEXT NOT NULL, table_name TEXT NOT NULL, hour_us INTEGER NOT NULL,
  {", ".join(f"{name} INTEGER NOT NULL" for name in COUNTED)}, PRIMARY KEY (source, table_name, hour_us)) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two counts of one thing that ought to be equal."""

    what: str
    booked: int
    counted: int

    def __str__(self) -> str:
        return f"{self.what}: the ledger says {self.booked:,}, there are {self.counted:,}"


def store(transaction: Transaction, source: str, table: str, entries: Mapping[int, Entry]) -> None:
    """Add entries by hour (microseconds since 1970, a multiple of an hour)."""
    changes = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTED)
    places = ", ".join("?" * (3 + len(COUNTED)))
    transaction.execute_many(
        f"INSERT INTO ledger VALUES ({places}) ON CONFLICT (source, table_name, hour_us) DO UPDATE SET {changes}",
        [(source, table, hour, *astuple(entry)) for hour, entry in entries.items()],
    )


def read(database: Database) -> list[tuple[str, str, int, Entry]]:
    """All entries: source, table, hour, counts; by hour, then source."""
    with database.read() as view:
        rows = view.execute(
            f"SELECT source, table_name, hour_us, {', '.join(COUNTED)} FROM ledger ORDER BY hour_us, source, table_name"
        )
    return [(row[0], row[1], row[2], Entry(*row[3:])) for row in rows]


def check(database: Database, record_counts: Mapping[str, int], quarantine_of: Mapping[str, str]) -> list[Difference]:
    """Where the books do not balance; empty when they do.

    `record_counts`: how many rows each table really has (its snapshot says so); `quarantine_of`: table to its
    quarantine table. Three comparisons: within each entry, entries against tables, entries against positions.
    """
    differences: list[Difference] = []
    rows_by_table: dict[str, int] = {}
    kept_by_table: dict[str, int] = {}
    by_source: dict[str, Entry] = {}
    for source, table, _, entry in read(database):
        by_source.setdefault(source, Entry()).add(entry)
        rows_by_table[table] = rows_by_table.get(table, 0) + entry.rows_out
        kept_by_table[table] = kept_by_table.get(table, 0) + entry.quarantined
    for source, entry in by_source.items():
        accounted = entry.rows_out + entry.quarantined + entry.deduplicated
        if accounted != entry.records_in:
            differences.append(Difference(f"records of source {source}", entry.records_in, accounted))
    for table, rows in rows_by_table.items():
        differences += _unequal(f"rows of {table}", rows, record_counts.get(table, 0))
        kept = quarantine_of[table]
        differences += _unequal(f"rows of {kept}", kept_by_table[table], record_counts.get(kept, 0))
    with database.read() as view:
        reached = view.execute("SELECT source, unit, sum(place) FROM source_part GROUP BY source, unit")
    for source in by_source.keys() - {source for source, _, _ in reached}:
        differences += _unequal(f"records of source {source} that its positions cover", by_source[source].records_in, 0)
    for source, unit, places in reached:
        entry = by_source.get(source, Entry())
        if unit == "record":
            differences += _unequal(f"sequence numbers of source {source}", entry.records_in, places)
        else:
            booked = entry.bytes_read + entry.bytes_skipped
            differences += _unequal(f"bytes of source {source}", booked, places)
    return differences


def _unequal(what: str, booked: int, counted: int) -> Iterable[Difference]:
    return [] if booked == counted else [Difference(what, booked, counted)]
