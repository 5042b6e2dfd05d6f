"""`mulgil key`: who may write to which source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command, Group, ProjectOption
from mulgil.app.cli.table_output import FormatOption, OutputFormat

if TYPE_CHECKING:
    from pathlib import Path

    from mulgil.state import KeyRing


def create(
    grant: Annotated[
        list[str], typer.Option("--grant", help="write:<source>, write:*, read:metrics; may be repeated.")
    ],
    project: ProjectOption = None,
) -> None:
    """Make an API key and print it, once: only a hash of it is kept. From the first key on, every request needs one."""
    from mulgil.app.settings import load_project

    settings = load_project(project)
    ring = _ring(project)
    is_first = ring.is_empty()
    key, secret = ring.create(grant)
    typer.echo(secret)
    typer.echo(f"key {key.id} for {', '.join(key.grants)}; it is not shown again", err=True)
    for one in key.grants:
        kind, _, name = one.partition(":")
        if kind == "write" and name not in ("*", *settings.sources):
            typer.echo(f"note: there is no source {name} in {settings.file.name}", err=True)
    if is_first:
        typer.echo("note: from now on every request needs a key, those of this machine too", err=True)


def list_keys(output: FormatOption = OutputFormat.TABLE, project: ProjectOption = None) -> None:
    """Show all keys: their ids and grants, never the keys themselves."""
    import pyarrow as pa

    from mulgil.app.cli.table_output import write_table

    rows = [
        {"id": one.id, "grants": " ".join(one.grants), "created": one.created_us} for one in _ring(project).all_keys()
    ]
    schema = pa.schema([("id", pa.string()), ("grants", pa.string()), ("created", pa.timestamp("us", "UTC"))])
    write_table(pa.Table.from_pylist(rows, schema=schema), output)


def revoke(
    id: Annotated[str, typer.Argument(help="As `mulgil key list` shows it.")],
    project: ProjectOption = None,
) -> None:
    """Take a key back; a running server refuses it within a second."""
    _ring(project).revoke(id)
    typer.echo(f"key {id} is revoked", err=True)


def _ring(project: Path | None) -> KeyRing:
    from mulgil.app.settings import load_project
    from mulgil.clock import SystemClock
    from mulgil.state import Database, KeyRing

    return KeyRing(Database(load_project(project).state), SystemClock())


GROUP = Group(
    "key",
    "API keys: who may write to which source.",
    "Set up",
    (
        Command(
            create,
            panel="Set up",
            examples=(
                ("mulgil key create --grant write:web", "one source"),
                ("MULGIL_KEY=$(mulgil key create --grant 'write:*')", "all sources, into a variable"),
            ),
        ),
        Command(
            list_keys,
            panel="Set up",
            name="list",
            examples=(("mulgil key list", "ids and grants"), ("mulgil key list --format json", "for a program")),
        ),
        Command(
            revoke,
            panel="Set up",
            examples=(("mulgil key revoke 1f2e3d4c", "an id as `mulgil key list` shows it"),),
        ),
    ),
)
