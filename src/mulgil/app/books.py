"""The ledger as tables, and the comparison of the books with what is really there."""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa

from mulgil import catalog, delivery
from mulgil.app.lake import Lake

Difference = delivery.ledger.Difference

_COUNTS = [(name, pa.int64()) for name in delivery.ledger.COUNTED]
LEDGER_SCHEMA = pa.schema(
    [("source", pa.string()), ("table_name", pa.string()), ("hour", pa.timestamp("us", "UTC")), *_COUNTS]
)
"""Columns of the relation `mulgil.ledger`: one row for each source, table and hour of arrival."""


def books(lake: Lake, *, by_hour: bool = True) -> pa.Table:
    """The ledger; without hours, sums."""
    rows: dict[tuple[str, str, int], delivery.ledger.Entry] = {}
    for source, table, hour, entry in delivery.ledger.read(lake.database):
        rows.setdefault((source, table, hour if by_hour else 0), delivery.ledger.Entry()).add(entry)
    made = pa.Table.from_pylist(
        [{"source": key[0], "table_name": key[1], "hour": key[2], **asdict(entry)} for key, entry in rows.items()],
        schema=LEDGER_SCHEMA,
    )
    return made if by_hour else made.drop_columns(["hour"])


def schema_events(lake: Lake) -> pa.Table:
    """What tables gained and what did not fit, newest first; the relation `mulgil.schema_event`."""
    with lake.database.read() as read:
        rows = read.execute("SELECT at_us, table_name, source, event FROM schema_event ORDER BY at_us DESC")
    schema = pa.schema(
        [
            ("event_time", pa.timestamp("us", "UTC")),
            *((name, pa.string()) for name in ("table_name", "source", "event")),
        ]
    )
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def balance(lake: Lake) -> list[Difference]:
    """Where the books and the tables differ, as both were at one moment."""
    with lake.database.read():  # one view for the pointers, the ledger and the positions
        names = lake.catalog.names()
        counts = {name: table.record_count for name, table in lake.catalog.load_all(names).items()}
        kept = {
            name: catalog.quarantine_of(name)
            for name in {table for _, table, *_ in delivery.ledger.read(lake.database)}
        }
        return delivery.ledger.check(lake.database, counts, kept)
