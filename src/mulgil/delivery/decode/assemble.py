"""Parts of a block to one `Decoded`: columns brought to one type, rescued values written down, strict rules applied.

Called at the end by every decoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.columns import Columns, lost, shape
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import Mask
from mulgil.record import Bad
from mulgil.schema import RESCUED

Kept = dict[int, dict[str, bytes]]
"""By record index: the keys that fit no column, with their values as JSON text."""


@dataclass
class Part:
    """Rows of some of the records, ascending."""

    index: npt.NDArray[np.int64]
    columns: dict[str, pa.Array]
    kept: Kept = field(default_factory=dict)

    def keep(self, rows: Mask, name: str, texts: list[bytes]) -> None:
        """Rescue what the marked rows have under `name`: one JSON text for each, in order."""
        for record, text in zip(self.index[rows].tolist(), texts, strict=True):
            self.kept.setdefault(record, {})[name] = text


def keep_values(part: Part, name: str, array: pa.Array, rows: Mask) -> None:
    """Rescue values that are at hand as an array (text formats)."""
    chosen = array.filter(pa.array(rows))
    if pa.types.is_temporal(chosen.type):  # not every time that Arrow can hold is one of Python's
        chosen = chosen.cast(pa.string())
    values = chosen.to_pylist()
    part.keep(rows, name, [msgspec.json.encode(value) for value in values])


def assemble(parts: list[Part], columns: Columns, bad: list[Bad]) -> Decoded:
    """Everything together, by ascending record index."""
    parts = sorted((part for part in parts if len(part.index)), key=lambda part: int(part.index[0]))
    index = np.concatenate([part.index for part in parts]) if parts else np.empty(0, dtype=np.int64)
    for part in parts:
        _widen(part, columns)
    arrays = {}
    for name, kind in columns.types.items():
        chunks = [
            shape(part.columns[name], kind) if name in part.columns else pa.nulls(len(part.index), kind)
            for part in parts
        ]
        arrays[name] = pa.chunked_array(chunks, kind)
    kept: Kept = {}
    for part in parts:
        kept.update(part.kept)
    rows = pa.table(arrays) if arrays else _without_columns(len(index))
    if kept and columns.rules.strict:
        bad = bad + [Bad(record, _reason(keys, columns)) for record, keys in kept.items()]
        stays = ~np.isin(index, np.fromiter(kept, dtype=np.int64))
        rows, index, kept = rows.filter(pa.array(stays)), index[stays], {}
    if kept:
        rows = rows.append_column(pa.field(RESCUED, pa.string()), _texts(kept, index))
    return Decoded(rows, index, sorted(bad, key=lambda one: one.index), len(kept), columns.events)


def _widen(part: Part, columns: Columns) -> None:
    """New columns whose numbers became doubles in a later part: what a double cannot say is rescued."""
    for name, array in part.columns.items():
        kind = columns.types[name]
        wrong = None if array.type.equals(kind) else lost(array, kind)
        if wrong is not None:
            keep_values(part, name, array, wrong)
            part.columns[name] = pc.if_else(pa.array(wrong), None, array)


def _texts(kept: Kept, index: npt.NDArray[np.int64]) -> pa.Array:
    records = np.array(sorted(kept), dtype=np.int64)
    texts = [
        b"{" + b",".join(msgspec.json.encode(key) + b":" + raw for key, raw in kept[record].items()) + b"}"
        for record in records.tolist()
    ]
    places = np.searchsorted(records, index)
    places[places == len(records)] = 0
    return pa.array(texts, pa.binary()).cast(pa.string()).take(pa.array(places, mask=records[places] != index))


def _reason(keys: dict[str, bytes], columns: Columns) -> str:
    return "; ".join(f"{key}: {columns.why.get(key, 'does not fit its column')}" for key in keys)


def _without_columns(count: int) -> pa.Table:
    """A table of rows that have no column yet."""
    return pa.table({"": pa.nulls(count)}).select([])
