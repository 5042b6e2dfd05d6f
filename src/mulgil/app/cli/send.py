"""`mulgil send`: events from a file or standard input to a source, with or without a running server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from mulgil.app.cli.command import Command, ProjectOption

if TYPE_CHECKING:
    from mulgil.app.sending import Sender

BATCH_BYTES = 1 << 20


def send(
    source: Annotated[str, typer.Argument(help="The http source, as mulgil.yaml names it.")],
    file: Annotated[
        Path | None, typer.Argument(help="NDJSON, plain or .gz or .zst; without it: standard input.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A server elsewhere; without it: this project's.")] = None,
    key: Annotated[str, typer.Option("--key", envvar="MULGIL_KEY", help="API key, best by the environment.")] = "",
    project: ProjectOption = None,
) -> None:
    """Send events, one JSON object a line, and wait until they are on the disk.

    Where no server runs, they go into the project's stream; the next `mulgil run` delivers them. Lines are sent with
    keys made from the file's content, so that sending a file again, after an interruption say, doubles nothing.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mulgil.app.sending import sender_for
    from mulgil.errors import Invalid

    sender: Sender = sender_for(source, url, key, project)
    sent = 0
    console = Console(stderr=True)
    try:
        with _open(file) as lines, Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
            task = bars.add_task(f"to {source}", total=file.stat().st_size if file else None)
            first = 1
            for batch, count, compressed in _batches(lines, file):
                try:
                    sent += sender.send(batch)
                except Invalid as error:
                    raise Invalid(
                        error.what, where=f"{file or 'standard input'} from line {first}", hint=error.hint
                    ) from None
                first += count
                bars.update(task, completed=compressed)
    finally:
        sender.close()
    typer.echo(f"{sent:,} events acknowledged by {sender.where}", err=True)


def _open(file: Path | None) -> IO[bytes]:
    import gzip

    import zstandard

    from mulgil.errors import Missing

    if file is None:
        return sys.stdin.buffer
    try:
        if file.suffix == ".gz":
            return cast("IO[bytes]", gzip.open(file, "rb"))
        if file.suffix == ".zst":
            return cast("IO[bytes]", zstandard.open(file, "rb"))
        return file.open("rb")
    except OSError as error:
        raise Missing(f"cannot read: {error.strerror}", where=str(file)) from error


def _batches(lines: IO[bytes], file: Path | None) -> Iterator[tuple[bytes, int, int]]:
    """Whole lines of about a megabyte, how many they are, and how far the file is read."""
    while batch := b"".join(lines.readlines(BATCH_BYTES)):
        yield batch, batch.count(b"\n"), lines.tell() if file else 0


COMMAND = Command(
    send,
    panel="Run",
    examples=(
        ("mulgil send web events.ndjson", "a file of events"),
        ('echo \'{"event":"hello"}\' | mulgil send web', "a single one"),
        (
            "mulgil send web day.ndjson.gz --url https://lake.example.com",
            "to a server elsewhere; MULGIL_KEY holds the key",
        ),
    ),
)
