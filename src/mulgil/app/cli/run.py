"""`mulgil run`: the line, until it is stopped; or once over what is there."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption

if TYPE_CHECKING:
    from mulgil.app.lake import Lake
    from mulgil.app.wiring import Line


def run(
    once: Annotated[bool, typer.Option("--once", help="Take in what is there, commit it and exit.")] = False,
    project: ProjectOption = None,
) -> None:
    """Take in events and files, and deliver them into tables, until Ctrl-C or SIGTERM."""
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_lake

    lake = open_lake(load_project(project))
    try:
        _once(lake) if once else _serve(lake)
    finally:
        lake.close()


def _serve(lake: Lake) -> None:
    from mulgil.app.serve import Service
    from mulgil.telemetry import Log

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    service = Service(lake, Log())
    service.start()
    if sys.stderr.isatty():
        for name, source in lake.project.sources.items():
            way = f"POST {service.url}/v1/{name}" if source.type != "files" else ", ".join(source.path)
            typer.secho(f"  {name}: {way} → {source.table}", fg="green", err=True)
    service.wait(stop)
    service.stop()
    if service.fenced:
        raise typer.Exit(1)


def _once(lake: Lake) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from mulgil.app.serve import run_once
    from mulgil.telemetry import Log

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        tasks: dict[str, tuple[TaskID, int]] = {}

        def progress(line: Line) -> None:
            for name, flow in line.flows.items():
                waiting = flow.source.lag().waiting_bytes
                task, total = tasks.get(name) or (bars.add_task(name, total=waiting), waiting)
                tasks[name] = (task, max(total, waiting))
                bars.update(task, total=max(total, waiting), completed=max(0, total - waiting))

        metrics = run_once(lake, Log(), progress)
    for name, source in lake.project.sources.items():
        rows = int(metrics.value("mulgil_delivered_rows_total", name, source.table))
        kept = int(metrics.value("mulgil_quarantined_records_total", name, source.table))
        again = int(metrics.value("mulgil_deduplicated_records_total", name))
        rest = [f"{kept:,} to quarantine"] * (kept > 0) + [f"{again:,} were there already"] * (again > 0)
        counted = "1 row" if rows == 1 else f"{rows:,} rows"
        typer.echo(f"{name}: {counted} into {source.table}" + "".join(f", {one}" for one in rest), err=True)
    if unread := sum(int(metrics.value("mulgil_unreadable_files", name)) for name in lake.project.sources):
        typer.secho(f"{unread:,} {'file' if unread == 1 else 'files'} could not be read, see above", fg="red", err=True)
        raise typer.Exit(1)


COMMAND = Command(
    run,
    panel="Run",
    examples=(
        ("mulgil run", "until Ctrl-C; logs JSON lines on standard error"),
        ("mulgil run --once", "take in the files that are there, for a cron job"),
        ('curl -d \'{"event":"hello"}\' localhost:7410/v1/web', "what it then takes"),
    ),
)
