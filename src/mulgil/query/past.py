"""Which snapshot a table had: `FOR VERSION AS OF`, `FOR TIMESTAMP AS OF`, `AT (…)`. `engine.py` calls this."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from mulgil.errors import Invalid, Missing
from mulgil.query.failure import told
from mulgil.table import Snapshot, Table


def snapshot_at(connection: duckdb.DuckDBPyConnection, table: Table, at: tuple[str, str]) -> int:
    """The id of the snapshot that `(unit, SELECT expression)` means.

    VERSION takes an id or the name of a branch or tag, TIMESTAMP takes the newest one that was not made later.

    Raises `Missing` where there is none (any more), `Invalid` for a value that is neither.
    """
    unit, select = at
    kept = table.snapshots()
    try:
        if unit == "VERSION":
            row = connection.execute(f"SELECT CAST(({select}) AS VARCHAR)").fetchall()[0]
            return _version(table, kept, str(row[0]))
        row = connection.execute(f"SELECT epoch_us(CAST(({select}) AS TIMESTAMPTZ))").fetchall()[0]
    except duckdb.Error as error:
        raise told(error) from error
    if row[0] is None:
        raise Invalid(f"{table.name}: a moment that is NULL", hint="such as TIMESTAMP '2026-01-31 09:30'")
    return _moment(table, kept, int(row[0]))


def _version(table: Table, kept: list[Snapshot], value: str) -> int:
    refs: dict[str, Any] = table.metadata["refs"]
    if value in refs:
        return int(refs[value]["snapshot-id"])
    if any(str(one.id) == value for one in kept):
        return int(value)
    if not value.isdecimal():
        raise Missing(f"{table.name} has no branch or tag {value!r}", hint=_hint(kept))
    raise Missing(f"{table.name} has no snapshot {value} any more", hint=_hint(kept))


def _moment(table: Table, kept: list[Snapshot], at_us: int) -> int:
    ids = {one.id for one in kept}
    log: list[tuple[int, int]] = [(one["timestamp-ms"], one["snapshot-id"]) for one in table.metadata["snapshot-log"]]
    made = [one for one in log if one[1] in ids] or [(one.timestamp_ms, one.id) for one in kept]
    before = [one for one in made if one[0] * 1000 <= at_us]
    if not before:
        raise Missing(f"{table.name} has no snapshot as old as {_time(at_us // 1000)}", hint=_hint(kept))
    newest = max(time_ms for time_ms, _ in before)
    return [id_ for time_ms, id_ in before if time_ms == newest][-1]  # the log is in order: the last of one moment


def _hint(kept: list[Snapshot]) -> str:
    if not kept:
        return "nothing was written to it yet"
    first = min(kept, key=lambda one: one.timestamp_ms)
    return f"its oldest snapshot is {first.id} of {_time(first.timestamp_ms)}"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
