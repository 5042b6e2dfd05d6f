"""Rows brought into a table's shape: its columns in its order, its types, null where a column is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.errors import Invalid
from mulgil.table.schema import is_list


def conform(rows: pa.Table, schema: pa.Schema, *, where: str = "") -> pa.Table:
    """The rows with exactly this schema. Raises `Invalid` for a column that it lacks, or for values that do not fit."""
    if rows.schema.equals(schema, check_metadata=False):
        return rows.cast(schema) if not rows.schema.equals(schema, check_metadata=True) else rows
    for name in rows.column_names:
        if schema.get_field_index(name) < 0 and not pa.types.is_null(rows.schema.field(name).type):
            raise Invalid(f"the table has no column {name!r}", where=where, hint="evolve the table first")
    columns = []
    for field in schema:
        at = rows.schema.get_field_index(field.name)
        if at < 0:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows.column(at)
        try:
            columns.append(_column(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise Invalid(
                f"column {field.name!r} is {column.type} and does not fit {field.type}: {error}", where=where
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _column(column: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray:
    if column.type == to:
        return column if _same_names(column.type, to) else column.cast(to)
    return pa.chunked_array([_array(chunk, to) for chunk in column.chunks], to)


def _array(array: pa.Array, to: pa.DataType) -> pa.Array:
    have = array.type
    if have == to:
        return array.cast(to)
    if pa.types.is_null(have):
        return pa.nulls(len(array), to)
    if pa.types.is_nested(have) and array.offset:  # a slice's parts would have to be cut as well
        array = array.take(pa.array(np.arange(len(array))))
    if pa.types.is_struct(to) and pa.types.is_struct(have):
        return _struct(array, to)
    if pa.types.is_list(to) and is_list(have):
        plain = array.cast(pa.list_(have.value_type))
        values = _array(plain.values, to.value_type)
        return pa.ListArray.from_arrays(plain.offsets, values, type=to, mask=_mask(plain))
    if pa.types.is_map(to) and pa.types.is_map(have):
        keys, items = _array(array.keys, to.key_type), _array(array.items, to.item_type)
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=to, mask=_mask(array))
    if pa.types.is_nested(to) or pa.types.is_nested(have):
        raise pa.ArrowTypeError("one of the two has parts, the other has none")
    # a nanosecond is cut to the microsecond it lies in, a long becomes the double next to it
    lossless = not (pa.types.is_floating(to) or (pa.types.is_timestamp(have) and have.unit == "ns"))
    return pc.cast(array, to, safe=lossless)


def _struct(array: pa.StructArray, to: pa.StructType) -> pa.Array:
    have = {field.name: at for at, field in enumerate(array.type)}
    wanted = {field.name for field in to}
    for field in array.type:
        if field.name not in wanted and not pa.types.is_null(field.type):
            raise pa.ArrowTypeError(f"the table's column has no field {field.name!r}")
    children = [
        _array(array.field(have[field.name]), field.type) if field.name in have else pa.nulls(len(array), field.type)
        for field in to
    ]
    return pa.StructArray.from_arrays(children, fields=list(to), mask=_mask(array))


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _same_names(one: pa.DataType, other: pa.DataType) -> bool:
    return not pa.types.is_nested(one) or one.equals(other, check_metadata=True)
