"""What a user may say about a set of log files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from mulgil.errors import Invalid
from mulgil.schema import Format

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """One files source: which files, where to begin, how records are cut. Raises `Invalid` on values that cannot be."""

    name: str
    """The source's name."""
    paths: tuple[str, ...]
    """Globs: `*`, `?`, `[…]`, `{a,b}` and `**` (any folders). A relative one starts at the current folder."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out; one without a slash is matched with the file's name alone."""
    start: Literal["beginning", "end"] = "beginning"
    """Where to begin in files that are there when the source runs for the first time. Later files begin at 0."""
    format: Format = field(default_factory=Format)
    """How records are written down; csv and tsv without `fields` have a header line in each file."""
    multiline: str = ""
    """Regular expression (Python's syntax) that the first line of each record matches at its start; empty: a line is
    a record."""
    record_bytes_max: int = 16 * MIB
    """A longer line is cut there; the rest of it is counted as unreadable. A longer multi-line record is split
    between lines."""
    scan_interval_s: float = 0.25
    """How often folders are looked through; less often where one look takes more than 5 % of this."""
    partial_after_s: float = 2.0
    """How long a file must be quiet until the last line of a rotated file that lacks its line feed is a record, and
    until the last multi-line record is taken for whole. In a live file a line waits for its line feed."""
    settle_s: float = 1.0
    """How long a compressed file must be unchanged until it is read, and how long a vanished file is looked for
    before its unread bytes are counted as unreadable."""
    idle_close_s: float = 60.0
    """A deleted file is held open this long after its last change; other files at their end are closed too."""
    open_max: int = 256
    """Open descriptors at most; files that were rotated or deleted and are not yet read to their end come on top."""
    forget_after_days: float = 7.0
    """The position of a file that is gone may be forgotten after this long (see `FilesSource.forgettable`)."""

    def __post_init__(self) -> None:
        where = f"sources.{self.name}"
        if not self.paths or not all(self.paths):
            raise Invalid("no file is named", where=where, hint="give `path:` a file or a glob")
        if self.start not in ("beginning", "end"):
            raise Invalid(f"start is {self.start!r}", where=where, hint="beginning or end")
        for name in ("record_bytes_max", "open_max"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name} is {getattr(self, name)}", where=where, hint="at least 1")
        for name in ("scan_interval_s", "partial_after_s", "settle_s", "idle_close_s", "forget_after_days"):
            if getattr(self, name) < 0:
                raise Invalid(f"{name} is negative", where=where, hint="0 or more")
        if self.multiline:
            try:
                line_start(self.multiline)
            except re.error as error:
                raise Invalid(
                    f"multiline is not a regular expression: {error}", where=where, hint=f"it is {self.multiline!r}"
                ) from error

    @property
    def header(self) -> bool:
        """Whether the first line of each file names columns and is no record."""
        return self.format.kind in ("csv", "tsv") and (self.format.header or not self.format.fields)


def line_start(pattern: str) -> re.Pattern[bytes]:
    """The expression as one that finds every line it matches at the line's start. Raises `re.error`."""
    flags = re.match(r"\(\?[aimsux]+\)", pattern)
    front = flags.group() if flags else ""
    return re.compile(f"{front}^(?={pattern[len(front) :]})".encode(), re.MULTILINE)
