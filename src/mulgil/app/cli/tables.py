"""`mulgil tables`: what there is to ask, or one table's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from mulgil.catalog import Catalog
    from mulgil.query import Engine
    from mulgil.table import Table


def tables(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Show this table's columns.")] = None,
    output: FormatOption = OutputFormat.TABLE,
    project: ProjectOption = None,
) -> None:
    """List the lake's tables with their size and last commit; of one table, its columns with their SQL types."""
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_engine, open_lake

    lake = open_lake(load_project(project))
    try:
        if name is None:
            write_table(listed(lake.catalog), output)
            return
        engine = open_engine(lake)
        try:
            write_table(columns(engine, name), output)
        finally:
            engine.close()
    finally:
        lake.close()


def listed(catalog: Catalog) -> pa.Table:
    """One row a table; sizes are of the present snapshot's files."""
    import pyarrow as pa

    found = catalog.load_all(catalog.names())
    rows = [
        {
            "table": name,
            "rows": one.record_count,
            "files": one.file_count,
            "size_bytes": one.size_bytes,
            "snapshots": len(one.snapshots()),
            "last_commit": max((made.timestamp_ms for made in one.snapshots()), default=None),
            "partition": _partition(one) or None,
            "columns": len(one.arrow_schema),
        }
        for name, one in sorted(found.items())
    ]
    schema = pa.schema(
        [
            ("table", pa.string()),
            *((number, pa.int64()) for number in ("rows", "files", "size_bytes", "snapshots")),
            ("last_commit", pa.timestamp("ms", "UTC")),
            ("partition", pa.string()),
            ("columns", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def columns(engine: Engine, name: str) -> pa.Table:
    """One row a column: its name and its type in SQL. Raises `Missing` with the nearest names."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
    described = engine.run(f"DESCRIBE {quoted}").arrow()
    return described.select(["column_name", "column_type"]).rename_columns(["column", "type"])


def _partition(table: Table) -> str:
    """`day(event_time), bucket(16, user_id)`, as mulgil.yaml says it."""
    parts = []
    for one in table.spec.fields:
        column = table.schema.find_column_name(one.source_id) or str(one.source_id)
        transform, _, width = str(one.transform).rstrip("]").partition("[")
        arguments = f"{width}, {column}" if width else column
        parts.append(column if transform == "identity" else f"{transform}({arguments})")
    return ", ".join(parts)


COMMAND = Command(
    tables,
    panel="Look",
    examples=(
        ("mulgil tables", "all tables"),
        ("mulgil tables bronze.web", "one table's columns"),
        ("mulgil tables --format csv", "for a program"),
    ),
)
