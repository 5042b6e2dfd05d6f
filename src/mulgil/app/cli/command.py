"""What a command is: a function, where the help lists it, and examples. Every file of a command ends in one `COMMAND`.

The modules of commands are all imported whenever `mulgil` starts, even for `--help`. So their heads import nothing but
typer and light modules of this folder; what a command needs to run is imported inside its function (decision 0002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Panel = Literal["Set up", "Run", "Look"]
"""The heading under which `mulgil --help` lists a command."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    run: Callable[..., None]
    """Its parameters become options and arguments, its docstring the help."""
    panel: Panel
    examples: tuple[tuple[str, str], ...]
    """Two or three: the line as it is typed, and what it does."""
    name: str = ""
    """Empty: the function's name."""
    settings: dict[str, Any] | None = None
    """typer's `context_settings`, for a command that takes what it does not know."""


@dataclass(frozen=True, slots=True)
class Group:
    """A command with commands below it, such as `mulgil quarantine list`."""

    name: str
    help: str
    panel: Panel
    commands: tuple[Command, ...]


def _chosen(context: typer.Context, project: Path | None) -> Path | None:
    """`--project` may stand before or after the command's name."""
    return project if project is not None else context.find_root().params.get("project")


PROJECT_HELP = "The project's folder. Without it: the current folder, or the nearest above it that has a mulgil.yaml."

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help=PROJECT_HELP, callback=_chosen, show_default=False),
]
"""The option that every command about a project has: `def status(project: ProjectOption = None)`."""
