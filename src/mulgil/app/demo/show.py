"""What the demo shows: a picture that is redrawn in place on a terminal, and plain lines elsewhere; then tables.

Called by `demo.py`. Fits 80 columns and 24 lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mulgil.app.demo.answers import Answer
    from mulgil.app.demo.poster import Posted
    from mulgil.app.demo.proof import Claim
    from mulgil.app.demo.watch import Seen

BARS = "▁▂▃▄▅▆▇█"
SPARKS = 44
MOMENTS = 7
PLAIN_EVERY_S = 2.0
WIDTH_MAX = 100
COLUMNS = (("", 6), ("made", 9), ("acknowledged", 12), ("in SQL", 9), ("lag", 5), ("files", 5), ("mean size", 9))
"""Of the picture's table, and how wide they are at least. They never change: nothing jumps about."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source's line of the picture."""

    name: str
    made: int
    """Events posted, or lines written."""
    acknowledged: int | None
    """None: nobody acknowledges the lines of a file."""
    rows: int
    lag_s: float
    """For how long the oldest record that SQL does not see yet has existed."""
    files: int
    mean_bytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is to be seen at one moment."""

    state: str
    """How fast it goes, and what time it is there."""
    up: bool
    """Whether the server answers."""
    elapsed_s: float
    rates: Sequence[float]
    """Acknowledged events a second, the newest last."""
    sources: Sequence[SourceLine]
    seen: Seen


class Rates:
    """A count that grows, as rates over time."""

    def __init__(self, interval_s: float) -> None:
        """One rate for every interval."""
        self._interval_s = interval_s
        self._counts: list[tuple[float, int]] = []

    def add(self, now_s: float, count: int) -> None:
        """What the count is now."""
        self._counts.append((now_s, count))
        del self._counts[:-2_000]

    def now(self) -> float:
        """Over the last second."""
        if len(self._counts) < 2:
            return 0.0
        last_s, last = self._counts[-1]
        first_s, first = next(one for one in self._counts if one[0] >= last_s - 1.0 or one is self._counts[-2])
        return (last - first) / max(0.001, last_s - first_s)

    def mean(self) -> float:
        """From the first count to the highest."""
        if len(self._counts) < 2:
            return 0.0
        first_s, first = self._counts[0]
        last_s, last = next(one for one in self._counts if one[1] == self._counts[-1][1])
        return (last - first) / max(0.001, last_s - first_s)

    def shown(self) -> list[float]:
        """The newest SPARKS intervals."""
        if len(self._counts) < 2:
            return []
        last_s = self._counts[-1][0]
        since_s = max(self._counts[0][0], last_s - SPARKS * self._interval_s)
        edges = np.arange(since_s, last_s + 1e-9, self._interval_s)
        times, counts = zip(*self._counts, strict=True)
        rates: list[float] = (np.diff(np.interp(edges, times, counts)) / self._interval_s).tolist()
        return rates


@dataclass
class Show:
    """Where pictures and moments go."""

    console: Console
    _live: Live | None = None
    _moments: list[tuple[float, str, str]] = field(default_factory=list)
    _picture: Picture | None = None
    _plain_s: float = -PLAIN_EVERY_S

    @property
    def alive(self) -> bool:
        """Whether pictures can be redrawn."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def open(self) -> None:
        """From now on pictures may come."""
        self._plain_s = -PLAIN_EVERY_S
        if self.alive:
            self._live = Live(console=self.console, auto_refresh=False, transient=False)
            self._live.start()

    def close(self) -> None:
        """The last picture stays on the screen."""
        if self._live:
            self._live.stop()
            self._live = None
        self.console.print()

    def moment(self, elapsed_s: float, text: str, style: str = "") -> None:
        """Something happened."""
        self._moments.append((elapsed_s, text, style))
        if self._live is None:
            self.console.print(_moment(elapsed_s, text, style))
        else:
            self._live.update(self._drawn(self._picture), refresh=True)

    def draw(self, picture: Picture) -> None:
        """Show it; where nothing can be redrawn, every two seconds."""
        self._picture = picture
        if self._live:
            self._live.update(self._drawn(picture), refresh=True)
        elif picture.elapsed_s - self._plain_s >= PLAIN_EVERY_S:
            self._plain_s = picture.elapsed_s
            self.console.print(_plain(picture), soft_wrap=True)

    def _drawn(self, picture: Picture | None) -> Group:
        told = [_moment(*one) for one in self._moments[-MOMENTS:]]
        if picture is None:
            return Group(*told)
        width = min(self.console.width, WIDTH_MAX)
        sparks = Text(f" {sparkline(picture.rates)}", style="cyan")
        head = _ends(sparks, Text(f"{picture.state} "), width)
        return Group(head, Text(), _sources(picture, width), Text(), _ledger(picture.seen), Text(), *told)


def sparkline(rates: Sequence[float]) -> str:
    """The newest rates as bars, the highest as high as can be; a rare one that towers above all others is cut."""
    shown = rates[-SPARKS:]
    top = sorted(shown)[int(0.95 * len(shown))] if shown else 0
    top = top or max(shown, default=0) or 1
    return "".join(BARS[min(len(BARS) - 1, int(rate / top * len(BARS)))] for rate in shown)


def title(console: Console, left: str, right: str) -> None:
    """The first line."""
    console.print(_ends(Text(f" {left}", style="bold"), Text(f"{right} ", style="dim"), min(console.width, WIDTH_MAX)))
    console.print()


def heading(console: Console, text: str) -> None:
    """Above a part of the output."""
    console.print(Text(f" {text}", style="bold"))


def answer(console: Console, number: int, one: Answer) -> None:
    """A question, its SQL and the table that answers it, and how to ask it again from within the folder."""
    heading(console, f"{number}. {one.title}")
    code = Syntax("", "sql", theme="ansi_dark", background_color="default").highlight(one.sql)
    for line in code.split("\n"):
        console.print(Text("    ") + line, soft_wrap=True)
    console.print()
    console.print(Padding(_rows(one.rows), (0, 0, 0, 2), expand=False))
    count = f"{one.rows.num_rows} row{'s' * (one.rows.num_rows != 1)}"
    again = f"mulgil sql -f questions/{one.file.name}"
    console.print(Text(f"    {count} in {one.seconds * 1000:,.0f} ms   ·   {again}", style="dim"))
    console.print()


def claims(console: Console, made: Sequence[Claim]) -> None:
    """What was handed over and what is there, side by side."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for justify in ("left", "right", "left", "left", "right"):
        table.add_column(justify=justify)
    for one in made:
        sign = Text("✓", style="bold green") if one.holds else Text("✗", style="bold red")
        table.add_row(
            one.what, f"{one.handed_over:,}" if one.what else "", sign, one.where, Text(f"{one.there:,}", style="bold")
        )
    console.print(Padding(table, (0, 0, 0, 2)))


def verdict(console: Console, good: bool, seen: Seen, posted: Posted) -> None:
    """What the comparison comes to."""
    again = posted.sent_twice + posted.copies
    console.print(
        f"\n   {again:,} events were sent twice on purpose, {posted.retried:,} again for want of an answer.\n"
        f"   The ledger counts {seen.deduplicated:,} records that were known already.\n"
        f"   The books {'do not balance:' if seen.differences else 'balance.'}"
    )
    for one in seen.differences:
        console.print(Text(f"   {one}", style="bold red"))
    console.print()
    if good:
        console.print(Text("  Every acknowledged record is in the lake exactly once.", style="bold green"))
    else:
        console.print(Text("  The lake does not hold exactly what was handed over.", style="bold red"))
    console.print()


def commands(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Commands to copy, each with what it does."""
    width = max(len(command) for command, _ in lines)
    beside = width + 4 + max(len(why) for _, why in lines) + 2 <= console.width
    for command, why in lines:
        text = Text(f"  {command}", style="cyan")
        if beside:
            text.append(f"{' ' * (width - len(command))}  # {why}", style="dim")
        else:
            console.print(Text(f"  # {why}", style="dim"))
        console.print(text, soft_wrap=True)


def _moment(elapsed_s: float, text: str, style: str) -> Text:
    return Text(f" {elapsed_s:5.1f} s  ", style="dim") + Text(text, style=style)


def _sources(picture: Picture, width: int) -> Table:
    spare = (width - sum(least + 2 for _, least in COLUMNS)) // len(COLUMNS)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for name, least in COLUMNS:
        table.add_column(name, justify="left" if not name else "right", width=least + spare, no_wrap=True)
    for one in picture.sources:
        lag = Text(f"{one.lag_s:.1f} s", style="" if picture.up else "bold red")
        acknowledged = "" if one.acknowledged is None else f"{one.acknowledged:,}"
        rows = Text(f"{one.rows:,}", style="bold green")
        table.add_row(
            f" {one.name}", f"{one.made:,}", acknowledged, rows, lag, f"{one.files:,}", size_text(one.mean_bytes)
        )
    return table


def _ledger(seen: Seen) -> Text:
    text = Text(" ledger  ", style="dim")
    text.append(f"{seen.records_in:,} in = {seen.rows_out:,} rows + {seen.deduplicated:,} known already")
    text.append(f" + {seen.kept_back:,} quarantined ")
    return text.append("✗", style="bold red") if seen.differences else text.append("✓", style="bold green")


def _plain(picture: Picture) -> str:
    parts = []
    for one in picture.sources:
        what = f"{one.made:,} lines" if one.acknowledged is None else f"{one.acknowledged:,} acknowledged"
        parts.append(f"{one.name} {what}, {one.rows:,} rows, lag {one.lag_s:.1f} s")
    files = sum(one.files for one in picture.sources)
    balanced = "BOOKS DO NOT BALANCE" if picture.seen.differences else "books balance"
    down = "" if picture.up else " · server down"
    return f" {picture.elapsed_s:5.1f} s  {' · '.join(parts)} · {files} files · {balanced}{down}"


def _rows(rows: Any) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", collapse_padding=True)
    numbers = [_is_number(one.type) for one in rows.schema]
    for name, number in zip(rows.column_names, numbers, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in rows.to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> Text:
    if value is None:
        return Text("–", style="dim")
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return Text(f"{value:,}" if number else str(value))


def _is_number(kind: Any) -> bool:
    return str(kind).startswith(("int", "uint", "double", "float", "decimal"))


def _ends(left: Text, right: Text, width: int) -> Text:
    """One to the left and one to the right of a line."""
    return left + Text(" " * max(1, width - left.cell_len - right.cell_len)) + right


def size_text(size_bytes: int) -> str:
    """`312 KB`, `1.2 MB`."""
    if not size_bytes:
        return "–"
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} KB"
