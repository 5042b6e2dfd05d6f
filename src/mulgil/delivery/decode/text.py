"""Columns that a text format found, fitted to the table: types parsed, names checked, misfits rescued.

Called by every decoder but JSON's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mulgil.delivery.decode.assemble import Part, assemble, keep_values
from mulgil.delivery.decode.columns import Columns, Rules, type_word
from mulgil.delivery.decode.convert import convert
from mulgil.delivery.decode.decoded import Decoded
from mulgil.record import Bad


def fit(
    found: list[tuple[dict[str, pa.Array], npt.NDArray[np.int64]]],
    bad: list[Bad],
    rules: Rules,
    kinds: Mapping[str, pa.DataType] | None = None,
) -> Decoded:
    """Parts (columns by name, the record index of each row) to one answer, by ascending record index.

    A value takes the type that the table or the user gave its column; where the column is new, the type of `kinds`, or
    that of the array.
    """
    columns = Columns(rules)
    parts = []
    for arrays, index in found:
        part = Part(index, {})
        for name, array in arrays.items():
            _add(part, name, array, (kinds or {}).get(name, array.type), columns)
        parts.append(part)
    return assemble(_merged(parts, columns), columns, bad)


def _add(part: Part, name: str, array: pa.Array, new: pa.DataType, columns: Columns) -> None:
    kind = columns.types.get(name) or columns.admit(name, new)
    if kind is None:
        if array.null_count < len(array):
            keep_values(part, name, array, array.is_valid().to_numpy(zero_copy_only=False))
        return
    part.columns[name], wrong = convert(array, kind)
    if wrong is not None:
        columns.note(name, "conflict", f"values that are no {type_word(kind)}")
        keep_values(part, name, array, wrong)


def _merged(parts: list[Part], columns: Columns) -> list[Part]:
    """One part by ascending index; the parts of a text format are interleaved."""
    parts = [part for part in parts if len(part.index)]
    if len(parts) < 2:
        return parts
    index = np.concatenate([part.index for part in parts])
    order = pa.array(np.argsort(index, kind="stable"))
    whole = Part(np.sort(index, kind="stable"), {})
    for name, kind in columns.types.items():
        chunks = [part.columns.get(name, pa.nulls(len(part.index), kind)) for part in parts]
        if any(name in part.columns for part in parts):
            whole.columns[name] = pa.concat_arrays(chunks).take(order)
    for part in parts:
        whole.kept.update(part.kept)
    return [whole]
