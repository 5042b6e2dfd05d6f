"""How far each part of each source is in the lake: rows of the state, changed only in the transaction that commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mulgil.record import PLACE_BITS, Mark, Unit
from mulgil.state import Database, Transaction

TABLES = """
CREATE TABLE IF NOT EXISTS source_part (
  source TEXT NOT NULL, part TEXT NOT NULL, number INTEGER NOT NULL, unit TEXT NOT NULL, place INTEGER NOT NULL,
  detail TEXT NOT NULL, updated_us INTEGER NOT NULL, PRIMARY KEY (source, part), UNIQUE (source, number)) STRICT;
"""


@dataclass(slots=True)
class Part:
    """A part as delivery knows it: its number in `_position`, and the first place that is not in the lake."""

    number: int
    unit: Unit
    place: int
    detail: str = ""


def load(database: Database, source: str) -> dict[str, Part]:
    """All parts of a source that were ever committed and not forgotten."""
    with database.read() as read:
        rows = read.execute("SELECT part, number, unit, place, detail FROM source_part WHERE source = ?", (source,))
    return {part: Part(number, unit, place, detail) for part, number, unit, place, detail in rows}


def marks(parts: dict[str, Part]) -> list[Mark]:
    """The same as a source wants them."""
    return [Mark(name, part.place, part.detail) for name, part in parts.items()]


def place_of(database: Database, source: str, part: str) -> int:
    """How far one part is in the lake; 0 where it is unknown."""
    with database.read() as read:
        rows = read.execute("SELECT place FROM source_part WHERE source = ? AND part = ?", (source, part))
    return int(rows[0][0]) if rows else 0


def store(transaction: Transaction, source: str, parts: Iterable[tuple[str, Part]], now_us: int) -> None:
    """Advance the parts."""
    transaction.execute_many(
        "INSERT INTO source_part VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, part) DO UPDATE SET"
        " place = excluded.place, detail = excluded.detail, updated_us = excluded.updated_us",
        [(source, name, part.number, part.unit, part.place, part.detail, now_us) for name, part in parts],
    )


def read_position(position: int) -> tuple[int, int]:
    """The part's number and the place that a `_position` stands for."""
    return position >> PLACE_BITS, position & ((1 << PLACE_BITS) - 1)


def origins(database: Database, source: str, numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Name and detail of parts by number, for people who want to know which file a row came from."""
    with database.read() as read:
        rows = read.execute("SELECT number, part, detail FROM source_part WHERE source = ?", (source,))
    wanted = set(numbers)
    return {number: (part, detail) for number, part, detail in rows if number in wanted}
