"""`mulgil status`: how the line fares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat

if TYPE_CHECKING:
    from mulgil.app.settings import ProjectSettings


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
    for trouble in seen.troubles():
        typer.secho(trouble, fg="red", err=True)
    typer.secho(seen.headline, fg="green" if seen.ok else "red", err=True)
    if seen.running and not seen.ok:
        raise typer.Exit(1)


def _watch(settings: ProjectSettings) -> None:
    import threading

    from rich.box import SIMPLE_HEAD
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from mulgil.app.status import read_status, status_table
    from mulgil.clock import SystemClock

    never = threading.Event()
    console = Console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            seen = read_status(settings)
            rows = status_table(seen).drop_columns(["error"])
            shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
            for name in rows.column_names:
                is_text = name in ("source", "table", "state")
                shown.add_column(name, justify="left" if is_text else "right")
            for row in rows.to_pylist():
                shown.add_row(*("–" if value is None else str(value) for value in row.values()))
            told = [Text(trouble, style="red") for trouble in seen.troubles()]
            live.update(Group(shown, *told, Text(seen.headline, style="green" if seen.ok else "red")), refresh=True)
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
