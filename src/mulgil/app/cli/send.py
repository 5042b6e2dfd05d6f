"""`mulgil send`: events from a file or standard input to a source, with or without a running server."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
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
        Path | None, typer.Argument(help="NDJSON, plain or .gz or .zst; `-` or nothing: standard input.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="A server elsewhere; without it: this project's.")] = None,
    key: Annotated[str, typer.Option("--key", envvar="MULGIL_KEY", help="API key, best by the environment.")] = "",
    project: ProjectOption = None,
) -> None:
    """Send events, one JSON object a line, and wait until they are on the disk.

    Where no server runs, they go into the project's stream; the next `mulgil run` delivers them. A file's lines are
    sent with keys made from its content, so that sending it again, after an interruption say, doubles nothing.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mulgil.app.sending import sender_for
    from mulgil.errors import Invalid
    from mulgil.ids import new_uuid

    if file == Path("-"):
        file = None
    name = str(file or "standard input")
    sender: Sender = sender_for(source, url, key, project, _tell_once(), "" if file else f"{new_uuid()}-")
    sent = 0
    console = Console(stderr=True)
    try:
        with _raw(file) as raw, Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
            task = bars.add_task(f"to {source}", total=file.stat().st_size if file else None)
            first = 1
            for batch, count in _batches(_plain(raw, file), name):
                try:
                    sent += sender.send(batch)
                except Invalid as error:
                    raise Invalid(_in_file(error.what, first), where=error.where or name, hint=error.hint) from error
                first += count
                bars.update(task, completed=raw.tell() if file else 0)
    finally:
        sender.close()
    typer.echo(f"{sent:,} {'event' if sent == 1 else 'events'} acknowledged by {sender.where}", err=True)


def _tell_once() -> Callable[[str], None]:
    """Says on standard error why it takes longer, the first time."""
    told: list[str] = []

    def tell(why: str) -> None:
        if not told:
            typer.echo(f"{why}; trying again for a while", err=True)
        told.append(why)

    return tell


def _in_file(what: str, first: int) -> str:
    """The server counts the lines of a batch, the sender those of its file."""
    return re.sub(r"^line (\d+)", lambda found: f"line {int(found[1]) + first - 1:,}", what)


def _raw(file: Path | None) -> AbstractContextManager[IO[bytes]]:
    from mulgil.errors import Missing

    if file is None:
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise Missing(f"cannot read: {error.strerror}", where=str(file)) from error


def _plain(raw: IO[bytes], file: Path | None) -> IO[bytes]:
    import gzip

    import zstandard

    match file and file.suffix:
        case ".gz":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
        case ".zst":
            frames = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=False)
            return io.BufferedReader(cast("io.RawIOBase", frames), BATCH_BYTES)
        case _:
            return raw


def _batches(lines: IO[bytes], name: str) -> Iterator[tuple[bytes, int]]:
    """Whole lines of about a megabyte, and how many they are. Raises `Invalid` for a damaged file."""
    import zlib

    import zstandard

    from mulgil.errors import Invalid

    count = 0
    try:
        while batch := b"".join(lines.readlines(BATCH_BYTES)):
            yield batch, batch.count(b"\n")
            count += batch.count(b"\n")
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        hint = f"{count:,} lines before that were acknowledged" if count else "nothing of it was sent"
        raise Invalid(f"the file cannot be read to its end: {error}", where=name, hint=hint) from error


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
