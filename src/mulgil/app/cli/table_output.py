"""Rows on standard output, the one way for all commands: a table for people, CSV, JSON and Parquet for programs.

CSV (RFC 4180): a header, line feeds, quotes only where needed; NULL is empty and an empty text is `""`.
JSON: one array, a line a row (NDJSON: the rows alone); NaN and infinities are null, as JSON knows none.
Both are exact: integers and decimals in full, doubles in the shortest form that reads back the same, times in
ISO 8601 (UTC where they have a zone), bytes in hexadecimal as in Iceberg's JSON. CSV holds lists and structs as JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from mulgil.errors import Invalid

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

ROWS_MAX_TABLE = 1000
"""A table for people shows so many rows; the other formats show all."""
_TEXT_LENGTH_MAX = 5000
"""A table for people shows so many characters of a text, on a terminal or not; the other formats show all."""
_TEXT_WIDTH_MIN = 8
"""A text column is cut no shorter than this, however narrow the terminal is."""
_GAP = 3
"""What stands between two columns."""
_SLICE = 65_536
_ROW_GROUP = 122_880


class OutputFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"


FormatOption = Annotated[
    OutputFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="How rows are written: table, csv, json, ndjson or parquet.",
        case_sensitive=False,
    ),
]
"""The option of every command that prints rows: `output: FormatOption = OutputFormat.TABLE`."""


def write_table(table: pa.Table, output: OutputFormat = OutputFormat.TABLE) -> None:
    """Write all rows to standard output. Raises `Invalid` for Parquet onto a terminal."""
    if output is OutputFormat.TABLE:
        write_for_people(table, table.num_rows, null="–")
    else:
        write_rows(table.schema, [table], output)


def write_rows(schema: pa.Schema, parts: Iterable[pa.Table], output: OutputFormat, file: Path | None = None) -> None:
    """Write rows as they come, in a format for programs: to standard output, or to a file that is there once whole.

    Raises `Invalid` for Parquet onto a terminal.
    """
    write: Callable[[Any, Any, Any], None]
    match output:
        case OutputFormat.CSV:
            write = _write_csv
        case OutputFormat.PARQUET:
            write = _write_parquet
        case _:
            write = partial(_write_json, lines=output is OutputFormat.NDJSON)
    if file is None:
        write(schema, parts, sys.stdout)
        return
    beside = file.with_name(f".{file.name}.part")
    try:
        if file.exists() and not file.is_file():  # a pipe or a device: never to be replaced by a file
            with _text(file) as out:
                write(schema, parts, out)
            return
        with _text(beside) as out:
            write(schema, parts, out)
        beside.replace(file)
    except OSError as error:
        raise Invalid(f"the file cannot be written: {error.strerror}", where=str(file)) from error
    finally:
        beside.unlink(missing_ok=True)


def _text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def write_for_people(table: pa.Table, count: int, *, null: str = "NULL") -> None:
    """Write the first rows to standard output, and how many more of all `count` there are; `null` is how NULL looks."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(highlight=False, no_color=None if terminal else True)
    shown = table.slice(0, ROWS_MAX_TABLE)
    names = [_one_line(name) for name in shown.column_names]
    whole = [_texts(column).to_pylist() for column in shown.columns]
    columns = [[None if one is None else _one_line(_shortened(one)) for one in texts] for texts in whole]
    numbers = [_is_number(field.type) for field in shown.schema]
    widths = [
        max(cell_len(name), *(cell_len(null if one is None else one) for one in (*texts, "")))
        for name, texts in zip(names, columns, strict=True)
    ]
    left_out: list[str] = []
    if terminal:  # what is piped or kept in a file is not cut to a width
        fit = _fitting(widths, numbers, console.width)
        left_out = names[fit:]
        names, columns, numbers = names[:fit], columns[:fit], numbers[:fit]
        widths = _fitted(widths[:fit], numbers, console.width)
    console.width = max(console.width, sum(widths) + _GAP * len(widths))
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, number, width in zip(names, numbers, widths, strict=True):
        justify: Any = "right" if number else "left"
        made.add_column(Text(name), justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in zip(*columns, strict=True):
        made.add_row(*(Text(null, style="dim") if one is None else Text(one) for one in row))
    if columns:
        console.print(made) if terminal else _print_trimmed(console, made)
    if left_out:
        console.print(Text(_left_out(left_out), style="dim"), soft_wrap=True)
    if count > shown.num_rows:
        more = count - shown.num_rows
        console.print(Text(f"… {more:,} more rows; --format csv prints all {count:,}", style="dim"))
    if cut := sum(one is not None and len(one) > _TEXT_LENGTH_MAX for texts in whole for one in texts):
        were = f"{cut:,} texts are" if cut > 1 else "1 text is"
        console.print(Text(f"… {were} cut at {_TEXT_LENGTH_MAX:,} characters; --format csv prints all", style="dim"))


def _fitting(widths: list[int], numbers: list[bool], terminal: int) -> int:
    """How many columns, from the first one, fit the terminal with their texts cut; at least one."""
    least = (width if number else min(width, _TEXT_WIDTH_MIN) for width, number in zip(widths, numbers, strict=True))
    return max(1, sum(end <= terminal for end in accumulate(width + _GAP for width in least)))


def _left_out(names: list[str]) -> str:
    few = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    count = f"{len(names):,} more columns" if len(names) > 1 else "1 more column"
    return f"… {count}: {few}; --format json shows all"


def _fitted(widths: list[int], numbers: list[bool], terminal: int) -> list[int]:
    """Widths that fit the terminal: the widest texts are cut to one width; numbers never, texts not to nothing."""
    room = terminal - _GAP * len(widths) - sum(width for width, number in zip(widths, numbers, strict=True) if number)
    texts = [width for width, number in zip(widths, numbers, strict=True) if not number]
    cap = max(texts, default=0)
    while cap > _TEXT_WIDTH_MIN and sum(min(width, cap) for width in texts) > room:
        cap -= 1
    return [width if number else min(width, cap) for width, number in zip(widths, numbers, strict=True)]


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _print_trimmed(console: Any, made: Any) -> None:
    with console.capture() as capture:
        console.print(made)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH_MAX else text[: _TEXT_LENGTH_MAX - 1] + "…"


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _write_csv(schema: pa.Schema, parts: Iterable[pa.Table], out: TextIO) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    out.write(",".join(_quoted(pa.array(schema.names, pa.string())).to_pylist()) + "\n")
    for part in _slices(parts):
        columns = [_quoted(_texts(column)) for column in part.columns]
        if columns:
            lines = pc.binary_join_element_wise(*columns, ",", null_handling="replace", null_replacement="")
            out.write("\n".join(lines.to_pylist()) + "\n")


def _slices(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    for part in parts:
        for start in range(0, part.num_rows, _SLICE):
            yield part.slice(start, _SLICE)


def _quoted(texts: Any) -> Any:
    """The texts as CSV writes them."""
    import pyarrow.compute as pc

    needed = pc.or_(pc.match_substring_regex(texts, '[",\r\n]'), pc.equal(texts, ""))
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(needed, quoted, texts)


def _write_json(schema: pa.Schema, parts: Iterable[pa.Table], out: TextIO, *, lines: bool = False) -> None:
    import msgspec

    encoder = msgspec.json.Encoder(decimal_format="number")
    names = _unique(schema.names)
    opening, between, closing = ("", "\n", "\n") if lines else ("[\n", ",\n", "\n]\n")
    before = opening
    for part in _slices(parts):
        columns = [_values(column).to_pylist() for column in part.columns]
        for row in zip(*columns, strict=True):
            out.write(before + encoder.encode(dict(zip(names, map(_plain, row), strict=True))).decode())
            before = between
    if before != opening:
        out.write(closing)
    elif not lines:
        out.write("[\n]\n")


def _write_parquet(schema: pa.Schema, parts: Iterable[pa.Table], out: TextIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out.isatty():
        raise Invalid("Parquet is binary and this is a terminal", hint="redirect it: … --format parquet > rows.parquet")
    names = _unique(schema.names)
    named = pa.schema([one.with_name(name) for one, name in zip(schema, names, strict=True)])
    with pq.ParquetWriter(pa.PythonFile(_Forward(out.buffer), "w"), named, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part.rename_columns(names), row_group_size=_ROW_GROUP)
    out.buffer.flush()


class _Forward:
    """What Arrow needs of a file that cannot be asked where it stands, such as a pipe; it is not closed."""

    closed = False

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._at = 0

    def write(self, data: Any) -> int:
        self._out.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _texts(column: Any) -> Any:
    """Every value as text; NULL stays NULL."""
    import msgspec
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.cast(kind.value_type))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if one is None else one.hex() for one in column.to_pylist()], pa.string())
    if pa.types.is_nested(kind):
        encoder = msgspec.json.Encoder(decimal_format="number")
        texts = [None if one is None else encoder.encode(_plain(one)).decode() for one in column.to_pylist()]
        return pa.array(texts, pa.string())
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_interval(kind):
        return pa.array([None if one is None else _duration(*one) for one in column.to_pylist()], pa.string())
    texts = column.cast(pa.string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _duration(months: int, days: int, nanoseconds: int) -> str:
    """`P1M2DT3.5S` (ISO 8601)."""
    from decimal import Decimal

    seconds = (Decimal(nanoseconds) / 10**9).normalize()
    parts = [f"{months}M" if months else "", f"{days}D" if days else "", f"T{seconds:f}S" if nanoseconds else ""]
    return "P" + ("".join(parts) or "T0S")


def _times(column: Any) -> Any:
    """`2026-01-31T09:30:00.000001Z`, without the Z where there is no zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    utc = column.cast(pa.timestamp(column.type.unit, "UTC")) if column.type.tz else column
    return pc.replace_substring(utc.cast(pa.string()), " ", "T")


def _values(column: Any) -> Any:
    """What JSON has a word for stays; the rest becomes text."""
    import pyarrow as pa

    kind = column.type
    stays = _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind) or pa.types.is_null(kind)
    return column if stays else _texts(column)


def _plain(value: Any) -> Any:
    """A Python value out of a list or struct, as JSON can hold it."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


def _unique(names: list[str]) -> list[str]:
    """`a, a, b` becomes `a, a_1, b`: JSON and Parquet need names that differ."""
    found: list[str] = []
    for name in names:
        count, candidate = 0, name
        while candidate in found:
            count += 1
            candidate = f"{name}_{count}"
        found.append(candidate)
    return found
