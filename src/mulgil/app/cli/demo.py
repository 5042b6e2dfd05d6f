"""`mulgil demo`: the whole line at work in half a minute, with the proof that nothing was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulgil.app.cli.command import Command


def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="A new folder, or one of a demo. Without it: ./mulgil-demo."),
    ] = None,
    rate: Annotated[int, typer.Option("--rate", min=50, help="Events a second.")] = 7_000,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long the site's day takes.")] = 16.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes the same traffic.")] = 7,
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="Kill the server once, to see nothing lost.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Go on after the questions, until Ctrl-C.")] = False,
) -> None:
    """Show the whole line at work: a clinic-booking site's traffic into SQL, in a new folder, in half a minute.

    Posts events, writes and rotates an access log, runs `mulgil run` over both and kills it once on purpose, asks five
    questions in SQL, and compares what was handed over with what the lake holds. Exit status 0 exactly when that is
    the same. The folder is a project that stays, to be looked at and edited.
    """
    from rich.console import Console

    from mulgil.app.demo import DemoSettings, run_demo

    settings = DemoSettings(folder, rate=rate, seconds=seconds, seed=seed, kill=kill, keep=keep)
    if status := run_demo(settings, Console(highlight=False)):
        raise typer.Exit(status)


COMMAND = Command(
    demo,
    panel="Run",
    examples=(
        ("mulgil demo", "half a minute, in ./mulgil-demo"),
        ("mulgil demo --keep", "goes on running until Ctrl-C"),
        ("mulgil demo --rate 20000 --seconds 60", "more, for longer"),
    ),
)
