"""How the answer to a question looks. Called by `mulgil sql` and by its shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mulgil.app.cli.table_output import OutputFormat

if TYPE_CHECKING:
    from mulgil.query import Result


def write_result(result: Result, output: OutputFormat, target: Path | None = None) -> None:
    """Write the rows as they are computed; memory does not grow with their number."""
    import pyarrow as pa

    from mulgil.app.cli.table_output import ROWS_MAX_TABLE, write_for_people, write_rows

    parts = (pa.Table.from_batches([batch]) for batch in result.batches())
    if output is not OutputFormat.TABLE:
        write_rows(result.schema, parts, output, target)
        return
    if result.columns == ["explain_key", "explain_value"]:
        for part in parts:
            for plan in part.column(1).to_pylist():
                typer.echo(plan.rstrip())
        return
    shown: list[pa.Table] = []
    held = 0
    for part in parts:
        if held < ROWS_MAX_TABLE:
            shown.append(part.slice(0, ROWS_MAX_TABLE - held))
            held += shown[-1].num_rows
    write_for_people(pa.concat_tables([result.schema.empty_table(), *shown]), result.rows)


def summary(result: Result) -> str:
    """`5 rows in 0.02 s, 1.2 MB in 3 files`"""
    rows = "1 row" if result.rows == 1 else f"{result.rows:,} rows"
    files = "1 file" if result.files_scanned == 1 else f"{result.files_scanned:,} files"
    read = f", {_size(result.bytes_scanned)} in {files}" if result.files_scanned else ""
    return f"{rows} in {result.elapsed_s:.2f} s{read}"


def _size(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} bytes"
    units = ["kB", "MB", "GB", "TB"]
    while (count := count / 1000) >= 1000 and len(units) > 1:
        units.pop(0)
    return f"{count:.1f} {units[0]}"
