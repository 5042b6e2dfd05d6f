"""The program around the commands: options before the command's name, errors in plain words, exit statuses.

Exit status: 0 done; 1 an error, said on standard error; 2 wrong usage; 130 interrupted. Called by `mulgil` and by
`docs/generate.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mulgil.app.cli.command import PROJECT_HELP, Command, Group
from mulgil.app.cli.commands import COMMANDS
from mulgil.app.cli.error_output import write_error
from mulgil.errors import MulgilError


def main() -> None:
    """Run the command that the arguments name, and exit with its status."""
    status = 0
    try:
        build()()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except MulgilError as error:
        write_error(error)
        status = 1
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 1
    except OSError as error:
        status = _failed(error)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _forget_output()
    except OSError as error:
        status = _failed(error)
        _forget_output()
    sys.exit(status)


def _failed(error: OSError) -> int:
    """What the system refused, such as a full disk behind standard output."""
    write_error(MulgilError(error.strerror or str(error), where=str(error.filename or "standard output")))
    return 1


def _forget_output() -> None:
    """What cannot be written is not tried again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="mulgil",
        help="From events and log files to SQL, exactly once.",
        epilog="Begin with: mulgil init DIR",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before)
    for one in COMMANDS:
        if isinstance(one, Command):
            _add(app, one, top=True)
            continue
        assert isinstance(one, Group)
        below = typer.Typer(name=one.name, help=one.help, no_args_is_help=True, rich_markup_mode="rich")
        for command in one.commands:
            _add(below, command, top=False)
        app.add_typer(below, rich_help_panel=one.panel)
    return app


def _add(app: typer.Typer, command: Command, *, top: bool) -> None:
    app.command(
        name=command.name or None,
        help=_paragraphs(command.run.__doc__ or ""),
        epilog=_examples(command),
        rich_help_panel=command.panel if top else None,
        context_settings=command.settings,
    )(command.run)


def _paragraphs(text: str) -> str:
    """Without the line feeds inside a paragraph, which the help would keep."""
    return "\n\n".join(" ".join(one.split()) for one in text.split("\n\n"))


def _examples(command: Command) -> str:
    width = max(len(line) for line, _ in command.examples)
    lines = []
    for line, why in command.examples:
        escaped = line.replace("[", "\\[")
        lines.append(f"  [bold]{escaped}[/bold]{' ' * (width - len(line))}   {why}")
    return "\n\n".join(["Examples:", *lines])


def _version(asked: bool) -> None:
    if asked:
        from mulgil.app.cli.version import installed_version

        typer.echo(f"mulgil {installed_version()}")
        raise typer.Exit


def _before(
    project: Annotated[Path | None, typer.Option("--project", metavar="DIR", help=PROJECT_HELP)] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """From events and log files to SQL, exactly once."""
