"""`mulgil sql`: questions to the lake, from the arguments, a file, a pipe, or typed into a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.sql_output import summary, write_result
from mulgil.app.cli.table_output import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mulgil.query import Engine, Result

_BY_ENDING = {
    ".csv": OutputFormat.CSV,
    ".json": OutputFormat.JSON,
    ".ndjson": OutputFormat.NDJSON,
    ".jsonl": OutputFormat.NDJSON,
    ".parquet": OutputFormat.PARQUET,
}


def sql(
    statement: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One or more statements; `-` or nothing: from standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file with statements.")] = None,
    output: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            case_sensitive=False,
            help="How rows are written: table, csv, json, ndjson or parquet; without it a table, or by FILE's ending.",
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the rows to a file, however many.")
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Ask the lake in SQL (DuckDB's dialect). Without a statement, on a terminal: a shell.

    A query sees every record that was acknowledged a second ago, and all its tables as they were at one moment. It
    only reads. Former states: FROM bronze.web FOR TIMESTAMP AS OF TIMESTAMP '2026-01-31 09:30'.
    """
    import sys

    from mulgil.app.settings import load_project
    from mulgil.app.wiring import open_engine, open_lake
    from mulgil.errors import Invalid

    if statement is not None and file is not None:
        raise Invalid("SQL is given twice, as an argument and as a file", hint="give one of them")
    wanted = _format(output, target)
    settings = load_project(project)
    text = _text(statement, file)
    if text is None and not sys.stdin.isatty():
        text = sys.stdin.read()
    lake = open_lake(settings)
    engine = open_engine(lake)
    try:
        if text is None:
            from mulgil.app.cli.shell import Shell

            Shell(engine, wanted).run()
        else:
            answer(engine, text, wanted, target)
    finally:
        engine.close()
        lake.close()


def answer(engine: Engine, text: str, output: OutputFormat, target: Path | None = None) -> None:
    """Run each statement of the text and write its rows; what it took goes to standard error.

    With a target, or as Parquet, there can be only one statement: raises `Invalid` before anything is written.
    """
    from itertools import chain

    from mulgil.errors import Invalid

    results: Iterator[Result] = engine.run_all(text)
    if target is not None or output is OutputFormat.PARQUET:
        first, second = next(results), next(results, None)
        if second is not None:
            raise Invalid("these are several statements", hint="one file takes the rows of one statement")
        results = chain([first])
    for index, result in enumerate(results):
        if index:
            typer.echo()
        with result:
            write_result(result, output, target)
            typer.secho(summary(result), dim=True, err=True)


def _text(statement: str | None, file: Path | None) -> str | None:
    from mulgil.errors import Invalid, Missing

    if file is None:
        return None if statement == "-" else statement
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Missing("there is no such file", where=str(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("this file cannot be read as text", where=str(file)) from error


def _format(output: OutputFormat | None, target: Path | None) -> OutputFormat:
    from mulgil.errors import Invalid

    if target is None:
        return output or OutputFormat.TABLE
    found = output or _BY_ENDING.get(target.suffix.lower())
    if found is None or found is OutputFormat.TABLE:
        raise Invalid(f"what should be written to {target}?", hint="add --format csv, json, ndjson or parquet")
    return found


COMMAND = Command(
    sql,
    panel="Look",
    examples=(
        ('mulgil sql "SELECT count(*) FROM bronze.web"', "a question"),
        ('mulgil sql "FROM bronze.web" -o web.parquet', "all rows into a file"),
        ("mulgil sql -f report.sql --format csv > report.csv", "statements from a file"),
        ("mulgil sql", "a shell with history and completion"),
    ),
)
