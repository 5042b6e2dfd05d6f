"""What a decoder answers, and the contract that every decoder fills. Called by delivery's flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mulgil.record import Bad, Records

EventKind = Literal["added", "conflict", "fraction", "case", "reserved", "overflow", "name", "unstorable", "unknown"]


@dataclass(frozen=True, slots=True)
class SchemaEvent:
    """Something about a column that an operator wants to know; each (column, kind) once per decoded block."""

    column: str
    """Dotted path of the column, as the sender spelt it."""
    kind: EventKind
    """added: a new column. Otherwise why values went to `_rescued`. conflict: not of the column's type; fraction: a
    double for a column of whole numbers, which the caller may have widened and decode again; case: differs
    from a column only in case; reserved: a name of ours; overflow: more columns than allowed; name: no usable
    name; unstorable: a value without a type, such as an empty list; unknown: not in a strict schema."""
    detail: str
    """In plain words."""


@dataclass(frozen=True)
class Decoded:
    """Columns of the records that could be read. Invariant: `len(index) + len(bad) == len(records)`."""

    rows: pa.Table
    """k rows: the table's columns, then new ones, then `_rescued` (string, JSON objects) where a row needs it."""
    index: npt.NDArray[np.int64]
    """int64[k]: which record each row comes from, ascending."""
    bad: list[Bad]
    """The records that gave no row, ascending by index."""
    rescued: int
    """How many rows have something in `_rescued`."""
    events: list[SchemaEvent]

    @property
    def notices(self) -> list[str]:
        """The events that say that something did not fit, in plain words."""
        return [f"{one.column}: {one.detail}" for one in self.events if one.kind != "added"]


class Decoder(Protocol):
    """Bytes to columns. One bad record never fails its block."""

    def decode(self, records: Records) -> Decoded:
        """Decode every record or say why not.

        A column of the answer that has a name of the table has also its type, except that a struct may have gained
        fields. Values that fit no column stand in `_rescued`, and their row stays; in a strict schema such a record is
        bad instead.
        """
        ...
