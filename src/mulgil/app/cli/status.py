"""`mulgil status`: how the line fares."""

from __future__ import annotations

from typing import Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it, every second.")] = False,
    output: FormatOption = OutputFormat.TABLE,
    project: ProjectOption = None,
) -> None:
    """Show each source: whether it delivers, what waits, how old the oldest waiting record is."""
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.settings import load_project
    from mulgil.app.status import read_status, status_table

    settings = load_project(project)
    if watch:
        _watch(settings)
        return
    seen = read_status(settings)
    write_table(status_table(seen), output)
    typer.secho(seen.headline, fg="green" if seen.ok else "red", err=True)
    if seen.running and not seen.ok:
        raise typer.Exit(1)


def _watch(settings: object) -> None:
    import threading

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from mulgil.app.settings import ProjectSettings
    from mulgil.app.status import read_status, status_table
    from mulgil.clock import SystemClock

    assert isinstance(settings, ProjectSettings)
    never = threading.Event()
    with Live(console=Console(), refresh_per_second=2, screen=False) as live:
        while True:
            seen = read_status(settings)
            rows = status_table(seen)
            shown = Table(title=seen.headline)
            for name in rows.column_names:
                shown.add_column(name)
            for row in rows.to_pylist():
                shown.add_row(*("" if value is None else str(value) for value in row.values()))
            live.update(shown)
            SystemClock().wait(never, 1.0)


COMMAND = Command(
    status,
    panel="Look",
    examples=(
        ("mulgil status", "once"),
        ("mulgil status --watch", "until Ctrl-C"),
        ("mulgil status --format json", "for a program; exit status 1 when a source has failed"),
    ),
)
