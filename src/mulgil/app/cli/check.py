"""`mulgil check`: every mistake in mulgil.yaml, or what it declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mulgil.app.cli.command import Command, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat

if TYPE_CHECKING:
    import pyarrow as pa

    from mulgil.app.settings import AnySource, ProjectSettings


def check(project: ProjectOption = None, output: FormatOption = OutputFormat.TABLE) -> None:
    """Explain every mistake in mulgil.yaml with its line; without one, show what it declares."""
    from mulgil.app.cli.table_output import write_table
    from mulgil.app.project_warning import warnings
    from mulgil.app.settings import load_project

    settings = load_project(project)
    write_table(declared(settings), output)
    for warning in warnings(settings):
        typer.secho(f"note: {warning}", fg="yellow", err=True)
    if output is OutputFormat.TABLE:
        many = "1 source" if len(settings.sources) == 1 else f"{len(settings.sources)} sources"
        typer.secho(f"{settings.file.name} is right: {many}", fg="green", err=True)


def declared(project: ProjectSettings) -> pa.Table:
    """One row a source."""
    import pyarrow as pa

    rows = [
        {
            "source": name,
            "type": source.type,
            "from": _origin(project, name, source),
            "format": "json" if source.type == "http" else source.format.kind,
            "table": source.table,
            "time": source.time,
            "partition": ", ".join(source.partition) or None,
            "schema": source.schema,
        }
        for name, source in project.sources.items()
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in rows[0]]))


def _origin(project: ProjectSettings, name: str, source: AnySource) -> str:
    if source.type == "files":
        return ", ".join(source.path)
    if source.type == "agent":
        return "mulgil agent"
    scheme = "https" if project.tls else "http"
    return f"POST {scheme}://{project.listen}/v1/{name}"


COMMAND = Command(
    check,
    panel="Set up",
    examples=(
        ("mulgil check", "the project of the current folder"),
        ("mulgil check --project clinic", "another one"),
        ("mulgil check --format json", "the sources, for a program"),
    ),
)
