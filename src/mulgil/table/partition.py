"""How a table is cut into partitions: the texts users write, and rows told apart by them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.types import NestedField, PrimitiveType, StructType

from mulgil.errors import Invalid
from mulgil.table.transform import apply

_WRITTEN = re.compile(r"\s*(?:(?P<plain>[^(),]+)|(?P<name>\w+)\s*\((?:\s*(?P<width>\d+)\s*,)?(?P<column>[^(),]+)\))\s*")
_PERIODS = ("year", "month", "day", "hour")
_FOLDER_CHARACTERS_MAX = 200
_HINT = 'write a column, or year(c), month(c), day(c), hour(c), "bucket(16, c)" or "truncate(4, c)"'


def spec_of(texts: Sequence[str], schema: Schema, *, where: str = "") -> PartitionSpec:
    """The partition spec of texts like `day(event_time)`. Raises `Invalid` with what is wrong."""
    fields: list[PartitionField] = []
    for text in texts:
        source, transform, suffix = _parsed(text, where)
        try:
            column = schema.find_field(source)
        except ValueError as error:
            known = ", ".join(field.name for field in schema.fields)
            raise Invalid(f"partition {text!r} names no column", where=where, hint=f"columns: {known}") from error
        parsed = parse_transform(transform)
        reached = bool(_path_to(schema.fields, column.field_id))  # not inside a list or map
        if (
            not isinstance(column.field_type, PrimitiveType)
            or not parsed.can_transform(column.field_type)
            or not reached
        ):
            raise Invalid(f"{text!r} does not go with a column of type {column.field_type}", where=where, hint=_HINT)
        name = f"{source}{suffix}"
        if any(one.name == name for one in fields) or (suffix and name in schema.column_names):
            raise Invalid(f"partition {text!r} is there twice", where=where, hint=f"its column is called {name}")
        fields.append(PartitionField(column.field_id, PARTITION_FIELD_ID_START + len(fields), parsed, name))
    return PartitionSpec(*fields, spec_id=0)


def _parsed(text: str, where: str) -> tuple[str, str, str]:
    """Column, transform as Iceberg writes it, and what the partition's name ends with."""
    found = _WRITTEN.fullmatch(text)
    if found and found["plain"]:
        return found["plain"].strip(), "identity", ""
    if found:
        name, column, width = found["name"].lower().removesuffix("s"), found["column"].strip(), found["width"]
        if name in _PERIODS and width is None:
            return column, name, f"_{name}"
        if name == "identity" and width is None:
            return column, name, ""
        if name in ("bucket", "truncate") and width is not None and int(width) > 0:
            return column, f"{name}[{int(width)}]", "_bucket" if name == "bucket" else "_trunc"
    raise Invalid(f"partition {text!r} is not understood", where=where, hint=_HINT)


def path_of(spec: PartitionSpec, schema: Schema, partition: Sequence[Any]) -> str:
    """The folder of a partition, for people who look: `event_time_day=2025-11-24/country=kr`. Readers use manifests."""
    parts = []
    for field, value in zip(spec.fields, partition, strict=True):
        source = schema.find_type(field.source_id)
        text = field.transform.to_human_string(field.transform.result_type(source), value)
        # a name that file systems take; values that are cut alike share a folder, and manifests tell them apart
        parts.append(f"{quote_plus(field.name, safe='')}={quote_plus(text, safe='')}"[:_FOLDER_CHARACTERS_MAX])
    return "/".join(parts)


def split(rows: pa.Table, spec: PartitionSpec, schema: Schema) -> list[tuple[tuple[Any, ...], pa.Table]]:
    """The rows of each partition, in their order, with the partition's values (see `transform`)."""
    if not rows.num_rows:
        return []
    columns = [apply(field.transform, _source(rows, schema, field.source_id)) for field in spec.fields]
    if all(_constant(column) for column in columns):
        return [(tuple(_value(column[0]) for column in columns), rows)]
    codes = np.zeros(rows.num_rows, np.int64)
    for column in columns:
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
        _, codes = np.unique(codes, return_inverse=True)  # dense again, so that many columns do not overflow
    starts, order = _runs(codes)
    if order is not None:
        rows = rows.take(pa.array(order))
    ends = np.append(starts[1:], len(codes))
    firsts = starts if order is None else order[starts]
    return [
        (tuple(_value(column[int(first)]) for column in columns), rows.slice(int(start), int(end - start)))
        for start, end, first in zip(starts, ends, firsts, strict=True)
    ]


def _runs(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Where each partition's run starts once the rows are in order, and that order (None: they are already)."""
    order: npt.NDArray[np.int64] | None = None
    if np.any(codes[1:] < codes[:-1]):
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
    return np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1)), order


def _constant(column: pa.Array) -> bool:
    if column.null_count:
        return bool(column.null_count == len(column))
    if pa.types.is_floating(column.type):
        return False  # NaN is a value like others, which minimum and maximum pass over
    ends = pc.min_max(column)
    return bool(ends["min"] == ends["max"])


def _source(rows: pa.Table, schema: Schema, field_id: int) -> pa.Array:
    top, *below = _path_to(schema.fields, field_id)
    column = rows.column(top).combine_chunks()
    for name in below:
        column = pc.struct_field(column, name)
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _path_to(fields: Sequence[NestedField], field_id: int) -> list[str]:
    """The names from the top to a field, through structs; empty when it is not there."""
    for field in fields:
        if field.field_id == field_id:
            return [field.name]
        if isinstance(field.field_type, StructType) and (below := _path_to(field.field_type.fields, field_id)):
            return [field.name, *below]
    return []


def _value(scalar: pa.Scalar) -> Any:
    """As manifests hold it: times as numbers since 1970."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return scalar.value
    return scalar.as_py()
