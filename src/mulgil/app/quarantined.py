"""Quarantine as people see it: an overview, the records with where they came from, and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mulgil import catalog, delivery, storage
from mulgil.app.lake import Lake
from mulgil.app.wiring import seen_folder, target_of
from mulgil.errors import Missing
from mulgil.schema import INGESTED_AT, POSITION, SOURCE

REASONS_SHOWN = 3

OVERVIEW_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("records", pa.int64()),
        ("oldest", pa.timestamp("us", "UTC")),
        ("newest", pa.timestamp("us", "UTC")),
        ("reasons", pa.string()),
    ]
)


def overview(lake: Lake) -> pa.Table:
    """One row for each table whose quarantine is not empty."""
    rows = []
    for name in delivery.quarantine.tables(lake.catalog):
        target = name.removesuffix(catalog.QUARANTINE_SUFFIX)
        kept = delivery.quarantine.read(lake.catalog, target)
        if not kept.num_rows:
            continue
        reasons = sorted(kept["reason"].value_counts().to_pylist(), key=lambda one: -one["counts"])
        shown = "; ".join(f"{one['counts']:,} × {one['values']}" for one in reasons[:REASONS_SHOWN])
        others = len(reasons) - REASONS_SHOWN
        more = f"; {others:,} other {'reason' if others == 1 else 'reasons'}" if others > 0 else ""
        times = pc.min_max(kept[INGESTED_AT]).as_py()
        rows.append(
            {
                "table": target,
                "records": kept.num_rows,
                "oldest": times["min"],
                "newest": times["max"],
                "reasons": shown + more,
            }
        )
    return pa.Table.from_pylist(rows, schema=OVERVIEW_SCHEMA)


def records(lake: Lake, table: str, limit: int) -> pa.Table:
    """The newest records of one quarantine, their text readable and their positions taken apart."""
    target = table.removesuffix(catalog.QUARANTINE_SUFFIX)
    kept = delivery.quarantine.read(lake.catalog, target)
    kept = kept.slice(max(0, kept.num_rows - limit))
    made = []
    for row in kept.to_pylist():
        number, place = delivery.positions.read_position(row[POSITION])
        known = delivery.positions.origins(lake.database, row[SOURCE], [number]).get(number)
        where = _where(known, place) if known else row["origin"]
        text = row["raw"].decode("utf-8", "backslashreplace")
        made.append(
            {"time": row[INGESTED_AT], "source": row[SOURCE], "where": where, "reason": row["reason"], "raw": text}
        )
    schema = pa.schema(
        [("time", pa.timestamp("us", "UTC")), *((name, pa.string()) for name in ("source", "where", "reason", "raw"))]
    )
    return pa.Table.from_pylist(made, schema=schema)


def redrive(lake: Lake, tables: list[str]) -> Iterator[tuple[str, delivery.quarantine.Redriven]]:
    """Redrive some tables, or all; name and result of each as it is done. Raises `Missing` for an unknown one."""
    all_tables = [name.removesuffix(catalog.QUARANTINE_SUFFIX) for name in delivery.quarantine.tables(lake.catalog)]
    wanted = [name.removesuffix(catalog.QUARANTINE_SUFFIX) for name in tables] or all_tables
    for name in wanted:
        if name not in all_tables:
            raise Missing(f"nothing of {name} was ever quarantined", hint="`mulgil quarantine list` shows all")
        targets = {source: target_of(one) for source, one in lake.project.sources.items() if one.table == name}
        seen = {
            source: delivery.Seen(
                lake.database, storage.LocalStore(), seen_folder(lake.project, source), source, target.remember_days
            )
            for source, target in targets.items()
            if target.event_id is not None
        }
        yield (
            name,
            delivery.quarantine.redrive(
                name,
                targets,
                lake=lake.catalog,
                database=lake.database,
                settings=lake.table_settings,
                clock=lake.clock,
                seen=seen,
            ),
        )


def _where(known: tuple[str, str], place: int) -> str:
    part, detail = known
    about = json.loads(detail) if detail else {}
    return f"{about['path']}:{place}" if "path" in about else f"{part}:{place}"
