"""`mulgil quarantine`: what could not be delivered, why, and its way back."""

from __future__ import annotations

from typing import Annotated

import typer

from mulgil.app.cli.command import Command, Group, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="database.table, with or without __quarantine.")]


def list_tables(output: FormatOption = OutputFormat.TABLE, project: ProjectOption = None) -> None:
    """How many records each table's quarantine holds, and their most frequent reasons."""
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.quarantined import overview
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_lake

    lake = open_lake(load_project(project))
    try:
        write_table(overview(lake), output)
    finally:
        lake.close()


def show(
    table: TableArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    output: FormatOption = OutputFormat.TABLE,
    project: ProjectOption = None,
) -> None:
    """The records themselves: reason, where they came from, and the text as it came."""
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.quarantined import records
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_lake

    lake = open_lake(load_project(project))
    try:
        write_table(records(lake, table, limit), output)
    finally:
        lake.close()


def redrive(
    tables: Annotated[list[str] | None, typer.Argument(metavar="[TABLE]…", help="Without: all.")] = None,
    project: ProjectOption = None,
) -> None:
    """Read quarantined records again, as mulgil.yaml now says, and move what fits into its table.

    A record is moved in one transaction and keeps its position: doing this twice moves nothing twice.
    """
    from mulgil.app.quarantined import redrive as act
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_lake

    lake = open_lake(load_project(project))
    try:
        for name, done in act(lake, tables or []):
            again = f", {done.deduplicated:,} had come in by another way" if done.deduplicated else ""
            typer.echo(f"{name}: {done.moved:,} moved{again}, {done.left:,} still do not fit")
    finally:
        lake.close()


GROUP = Group(
    "quarantine",
    "What could not be delivered, why, and its way back.",
    "Look",
    (
        Command(
            list_tables,
            panel="Look",
            name="list",
            examples=(
                ("mulgil quarantine list", "all tables that have one"),
                ("mulgil quarantine list --format csv", "for a program"),
            ),
        ),
        Command(
            show,
            panel="Look",
            examples=(
                ("mulgil quarantine show bronze.web", "the newest 20"),
                ("mulgil quarantine show bronze.web -n 1000 --format json", "more of them, for a program"),
            ),
        ),
        Command(
            redrive,
            panel="Look",
            examples=(
                ("mulgil quarantine redrive bronze.web", "after mulgil.yaml was put right"),
                ("mulgil quarantine redrive", "all tables"),
            ),
        ),
    ),
)
