"""`mulgil chaos`: faults from seeds on real processes, and whether anything was lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command

if TYPE_CHECKING:
    from mulgil.app.chaos import Outcome, Sum


def chaos(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many scenarios.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first one's seed; the next ones follow it.")] = 1,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.2, help="For how long each has traffic and faults.")
    ] = 2.0,
    together: Annotated[int, typer.Option("--together", min=1, help="How many run at once.")] = 2,
    keep_failed: Annotated[
        Path | None, typer.Option("--keep-failed", metavar="DIR", help="Where failed scenarios are kept.")
    ] = None,
) -> None:
    """Break a real server in every way that a seed can think of, and count what was lost.

    Each scenario is a project in a temporary folder, with clients that post events and logs that rotate. Its server is
    killed at random and at planted moments, stopped, started twice; the end of its stream is torn, its disk filled (as
    root), its clock set. After a clean start every acknowledged record has to be there exactly once. Exit status 0
    exactly when that is so for all seeds.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mulgil.app.chaos import ChaosSettings, Sum, run_seeds

    settings = ChaosSettings(seeds=seeds, first_seed=seed, seconds=seconds, together=together, keep=keep_failed)
    console = Console(stderr=True)
    total = Sum()
    columns = (
        TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[kills]:,} kills, {task.fields[checked]:,} records checked"),
        TextColumn("{task.fields[failed]} failed"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("seeds", total=seeds, kills=0, checked=0, failed=0)
        for outcome in run_seeds(settings):
            total.add(outcome)
            if outcome.problems:
                _tell_failure(console, outcome, seconds)
            bars.update(task, advance=1, kills=total.kills, checked=total.acknowledged, failed=len(total.failed))
    _tell_sum(total)
    if total.failed:
        raise typer.Exit(1)


def _tell_failure(console: object, outcome: Outcome, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    from mulgil.app.chaos import repeat_command

    assert isinstance(console, Console)
    console.print(Text(f"seed {outcome.seed} failed", style="bold red"))
    for line in (*outcome.problems, "", *outcome.events, ""):
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text(f"  again: {repeat_command(outcome, seconds)}"), soft_wrap=True)
    console.print(Text(f"  kept:  {outcome.folder}"), soft_wrap=True)


def _tell_sum(total: Sum) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    counts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    counts.add_column(justify="left")
    counts.add_column(justify="right")
    for what, count in (
        ("seeds", total.seeds),
        ("seeds that failed", len(total.failed)),
        ("starts", total.starts),
        ("kills", total.kills),
        ("of them planted at a step", total.planted),
        ("rotations of logs", total.rotations),
        ("acknowledged records checked", total.acknowledged),
        ("lost", total.lost),
        ("doubled", total.doubled),
        ("never sent, or not what was sent", total.strange),
    ):
        counts.add_row(what, f"{count:,}")
    out.print(counts)
    out.print(f"faults: {_listed(total.faults)}")
    out.print(f"killed inside: {_listed(total.phases)}")
    if total.left_out:
        out.print(f"left out, since only root may mount a small disk: {_listed(total.left_out)}")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1])) or "none"


COMMAND = Command(
    chaos,
    panel="Look",
    examples=(
        ("mulgil chaos --seeds 20", "about a minute; a summary at the end"),
        ("mulgil chaos --seeds 1 --seed 17 --keep-failed /tmp/seed-17", "one seed again, what is left of it kept"),
    ),
)
