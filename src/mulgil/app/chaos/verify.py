"""The comparison of the lake with what the scenario knows: nothing lost, nothing doubled, nothing made up.

Tables are read twice, by Mulgil and by PyIceberg, which opens the state and knows nothing of Mulgil.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from mulgil import catalog, table
from mulgil.app.chaos.books import Books, is_bad, text_of, value_of
from mulgil.app.chaos.log import line_of
from mulgil.app.lake import Lake
from mulgil.schema import POSITION, RESCUED, SOURCE

SHOWN = 5
"""So many records are named of each kind of mistake."""


@dataclass(slots=True)
class Verdict:
    """What a comparison found."""

    certain: int = 0
    """Records that had to be there."""
    lost: int = 0
    doubled: int = 0
    strange: int = 0
    """Records that were never sent, or hold something else than was sent."""
    problems: list[str] = field(default_factory=list)
    """Every mistake in words; empty when all is well."""


def check_events(lake: Lake, name: str, books: Books) -> Verdict:
    """Compare the table of an http source with what its clients know."""
    rows, problems = read_both(lake, name)
    found = Counter(rows.column("n").to_pylist() if rows.num_rows else [])
    verdict = _compare(name, found, books)
    verdict.problems += problems
    _check_content(name, rows, verdict)
    return verdict


def check_lines(lake: Lake, name: str, books: Books) -> Verdict:
    """Compare a table of log lines and its quarantine with what was written into the logs."""
    rows, problems = read_both(lake, name)
    found = Counter(rows.column("n").to_pylist() if rows.num_rows else [])
    banners = found.pop(-1, 0)
    kept, more = read_both(lake, catalog.quarantine_of(name))
    strange = 0
    for raw in kept.column("raw").to_pylist() if kept.num_rows else []:
        number = _number_of(raw)
        if number is None or not is_bad(number) or line_of(number) != raw + b"\n":
            strange += 1
            more.append(f"{name}: a line in quarantine that nobody wrote: {raw[:120]!r}")
        else:
            found[number] += 1
    verdict = _compare(name, found, books)
    verdict.strange += strange
    verdict.problems += problems + more[: 2 * SHOWN]
    if banners != books.banners:
        verdict.lost += max(0, books.banners - banners)
        verdict.doubled += max(0, banners - books.banners)
        verdict.problems.append(f"{name}: {books.banners} first lines were written, {banners} are there")
    _check_content(name, rows, verdict)
    return verdict


def read_both(lake: Lake, name: str) -> tuple[pa.Table, list[str]]:
    """A table's rows (none where there is no table), and where Mulgil and PyIceberg disagree about them."""
    found = lake.catalog.find(name)
    if found is None:
        return pa.table({}), []
    rows = table.scan(lake.catalog.store, found).combine_chunks()
    problems = []
    positions = rows.group_by([SOURCE, POSITION]).aggregate([([], "count_all")])
    if positions.num_rows != rows.num_rows:
        problems.append(f"{name}: {rows.num_rows} rows have {positions.num_rows} positions")
    other = _pyiceberg(lake.project.state, name)
    keys = [(SOURCE, "ascending"), (POSITION, "ascending")]
    if sorted(other.column_names) != sorted(rows.column_names):
        problems.append(f"{name}: PyIceberg sees the columns {other.column_names}, Mulgil {rows.column_names}")
    elif not other.select(rows.column_names).cast(rows.schema).sort_by(keys).equals(rows.sort_by(keys)):
        problems.append(f"{name}: PyIceberg sees {other.num_rows} rows that are not Mulgil's {rows.num_rows}")
    return rows, problems


def _pyiceberg(state: Path, name: str) -> pa.Table:
    reader = SqlCatalog("mulgil", uri=f"sqlite:///{state}", init_catalog_tables="false")
    try:
        return reader.load_table(name).scan().to_arrow()
    finally:
        reader.engine.dispose()


def _compare(name: str, found: Counter[int], books: Books) -> Verdict:
    lost = books.certain - found.keys()
    doubled = [number for number, times in found.items() if times > 1]
    strange = found.keys() - books.certain - books.possible
    verdict = Verdict(len(books.certain) + books.banners, len(lost), len(doubled), len(strange))
    for numbers, what in (
        (lost, "acknowledged and not there"),
        (doubled, "there more than once"),
        (strange, "there and never accepted"),
    ):
        if numbers:
            verdict.problems.append(f"{name}: {len(numbers)} records {what}, such as {_some(numbers)}")
    return verdict


def _check_content(name: str, rows: pa.Table, verdict: Verdict) -> None:
    """Every row holds what its number says, in its columns or in what was rescued."""
    if not rows.num_rows:
        return
    columns = [one for one in ("n", "text", "value", "event_id", RESCUED) if one in rows.column_names]
    wrong = [row for row in rows.select(columns).to_pylist() if row["n"] != -1 and not _is_right(row)]
    if wrong:
        verdict.strange += len(wrong)
        verdict.problems.append(f"{name}: {len(wrong)} rows hold something else than was sent, such as {wrong[0]}")


def _is_right(row: dict[str, Any]) -> bool:
    number = row["n"]
    rescued = json.loads(row.get(RESCUED) or "{}")
    value = row.get("value")
    if value is None:
        value = rescued.get("value")
    sent = value_of(number)
    if isinstance(value, str) and sent is not None and not isinstance(sent, str):
        sent = json.dumps(sent)  # where text came first, the column is text
    return bool(row.get("text") == text_of(number) and value == sent and row.get("event_id") in (None, f"e{number}"))


def _number_of(line: bytes) -> int | None:
    words = line.split()
    return int(words[2]) if len(words) == 4 and words[2].isdigit() else None


def _some(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)[:SHOWN]))
