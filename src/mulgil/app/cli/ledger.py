"""`mulgil ledger`: the books, and whether they balance."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat


class Grouping(StrEnum):
    """What has a line of its own."""

    SOURCE = "source"
    HOUR = "hour"


def ledger(
    by: Annotated[
        Grouping, typer.Option("--by", metavar="WHAT", help="One line for each `source`, or for each `hour`.")
    ] = Grouping.SOURCE,
    output: FormatOption = OutputFormat.TABLE,
    project: ProjectOption = None,
) -> None:
    """Show what came in, went out and was kept back. Exit status 0 exactly when the books balance.

    Compared are: records in with rows, quarantine and duplicates; rows with the tables' own counts; records and bytes
    with the positions that the sources reached.
    """
    from mulgil.app.books import balance, books
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_lake

    lake = open_lake(load_project(project))
    try:
        write_table(books(lake, by_hour=by is Grouping.HOUR), output)
        differences = balance(lake)
    finally:
        lake.close()
    for difference in differences:
        typer.secho(f"does not balance: {difference}", fg="red", err=True)
    if differences:
        raise typer.Exit(1)
    typer.secho("the books balance", fg="green", err=True)


COMMAND = Command(
    ledger,
    panel="Look",
    examples=(
        ("mulgil ledger", "sums for each source and table"),
        ("mulgil ledger --by hour --format csv", "every hour, for a program"),
        ("mulgil ledger > /dev/null && echo nothing is missing", "as a check"),
    ),
)
