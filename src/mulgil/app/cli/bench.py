"""`mulgil bench`: what this machine does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulgil.app.cli.command import Command
from mulgil.app.cli.table_output import FormatOption, OutputFormat


def bench(
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long each load lasts.")] = 5,
    megabytes: Annotated[int, typer.Option("--megabytes", min=1, help="Size of each log file.")] = 200,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="On the disk to measure; without it: the temporary folder.")
    ] = None,
    output: FormatOption = OutputFormat.TABLE,
) -> None:
    """Measure what this machine acknowledges, delivers and answers, with a real server in a temporary project."""
    import pyarrow as pa
    from rich.console import Console

    from mulgil.app.bench.measure import Figure, files, http
    from mulgil.app.cli.table_output import write_table

    console = Console(stderr=True)
    found: list[Figure] = []
    with console.status("") as status:
        for figures in (http(folder, seconds), files(folder, megabytes)):
            status.update(f"measuring … {len(found)} of 11")
            for figure in figures:
                found.append(figure)
                status.update(f"{figure.what}: {figure.value:,.0f} {figure.unit}")
    rows = [{"what": one.what, "value": round(one.value, 1), "unit": one.unit} for one in found]
    write_table(pa.Table.from_pylist(rows), output)


COMMAND = Command(
    bench,
    panel="Look",
    examples=(
        ("mulgil bench", "about half a minute"),
        ("mulgil bench --folder /data --seconds 30", "the disk that counts, for longer"),
        ("mulgil bench --format json", "for a program"),
    ),
)
