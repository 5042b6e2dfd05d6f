"""A data file's entry for the manifest: sizes, counts and bounds, out of the Parquet footer.

Bounds: https://iceberg.apache.org/spec/#appendix-d-single-value-serialization. Texts and bytes are cut to 16, the upper
bound rounded up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    PrimitiveType,
    StringType,
    UUIDType,
)

from mulgil.table.layout import Layout
from mulgil.table.manifest import DataFile

_BOUND_LENGTH = 16
_FORMATS: dict[type[PrimitiveType], str] = {
    BooleanType: "<?",
    IntegerType: "<i",
    DateType: "<i",
    FloatType: "<f",
    DoubleType: "<d",
}


def describe(
    layout: Layout,
    path: str,
    partition: Sequence[Any],
    footer: pq.FileMetaData,
    size_bytes: int,
    nan_counts: Mapping[int, int],
) -> DataFile:
    """The manifest's entry for a Parquet file whose columns are those of `layout.arrow`, in its order."""
    sizes: dict[int, int] = {}
    counts: dict[int, int] = {}
    nulls: dict[int, int] = {}
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
    for at, leaf in enumerate(layout.leaves):
        chunks = [group.column(at) for group in groups]
        sizes[leaf.field_id] = sum(chunk.total_compressed_size for chunk in chunks)
        if leaf.repeated:
            continue
        counts[leaf.field_id] = footer.num_rows
        found = [chunk.statistics for chunk in chunks]
        if any(one is None or not one.has_null_count for one in found):
            continue
        nulls[leaf.field_id] = sum(one.null_count for one in found)
        filled = [one for one in found if one.num_values]
        if filled and all(one.has_min_max for one in filled):
            low, high = _bounds(leaf.type, [one.min_raw for one in filled], [one.max_raw for one in filled])
            if low is not None:
                lower[leaf.field_id] = low
            if high is not None:
                upper[leaf.field_id] = high
    record = {
        "content": 0,
        "file_path": path,
        "file_format": "PARQUET",
        "partition": layout.partition_record(partition),
        "record_count": footer.num_rows,
        "file_size_in_bytes": size_bytes,
        "column_sizes": _map(sizes),
        "value_counts": _map(counts),
        "null_value_counts": _map(nulls),
        "nan_value_counts": _map(nan_counts),
        "lower_bounds": _map(lower),
        "upper_bounds": _map(upper),
        "key_metadata": None,
        "split_offsets": [_start(group.column(0)) for group in groups] if layout.leaves else None,
        "equality_ids": None,
        "sort_order_id": 0,
    }
    encoded = layout.data_file.encode(record)
    return DataFile(path, tuple(partition), footer.num_rows, size_bytes, layout.spec.spec_id, encoded, layout.columns)


def _map(values: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    first = chunk.dictionary_page_offset
    return int(chunk.data_page_offset if first is None else min(first, chunk.data_page_offset))


def _bounds(type_: PrimitiveType, lows: list[Any], highs: list[Any]) -> tuple[bytes | None, bytes | None]:
    """The least and the greatest, from the raw values of Parquet's statistics."""
    match type_:
        case DecimalType():
            low, high = min(map(_unscaled, lows)), max(map(_unscaled, highs))
            return _least_bytes(low), _least_bytes(high)
        case StringType():
            return _cut_text(min(lows)), _raised_text(max(highs))
        case BinaryType() | FixedType() | UUIDType():
            return min(lows)[:_BOUND_LENGTH], _raised_bytes(max(highs))
        case FloatType() | DoubleType():
            if any(one != one for one in (*lows, *highs)):
                return None, None
    form = _FORMATS.get(type(type_), "<q")
    return struct.pack(form, min(lows)), struct.pack(form, max(highs))


def _unscaled(raw: bytes | int) -> int:
    return raw if isinstance(raw, int) else int.from_bytes(raw, "big", signed=True)


def _least_bytes(value: int) -> bytes:
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)


def _cut_text(raw: bytes) -> bytes:
    return raw.decode(errors="ignore")[:_BOUND_LENGTH].encode()


def _raised_text(raw: bytes) -> bytes | None:
    """The shortest text of at most 16 characters that is not below; None where there is none."""
    text = raw.decode(errors="ignore")
    if len(text) <= _BOUND_LENGTH:
        return text.encode()
    for at in range(_BOUND_LENGTH - 1, -1, -1):
        code = ord(text[at]) + 1
        if code == 0xD800:
            code = 0xE000  # surrogates are no characters
        if code <= 0x10FFFF:
            return (text[:at] + chr(code)).encode()
    return None


def _raised_bytes(raw: bytes) -> bytes | None:
    if len(raw) <= _BOUND_LENGTH:
        return raw
    kept = raw[:_BOUND_LENGTH].rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
