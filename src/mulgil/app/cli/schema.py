"""`mulgil schema`: the JSON Schema of mulgil.yaml, for editors."""

from __future__ import annotations

import typer

from mulgil.app.cli.command import Command


def schema() -> None:
    """Print the JSON Schema of mulgil.yaml, so that an editor completes and explains its keys."""
    import json

    from mulgil.app.project_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


COMMAND = Command(
    schema,
    panel="Set up",
    examples=(
        ("mulgil schema", "print it"),
        ("mulgil schema > mulgil.schema.json", "keep it beside the project, for an editor without network"),
    ),
)
