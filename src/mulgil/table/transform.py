"""Iceberg's partition transforms on whole Arrow columns.

Definitions: https://iceberg.apache.org/spec/#partition-transforms and, for the hash, its appendix B. Values come as
Iceberg stores them in manifests: days as days since 1970 (int32), hours, months and years likewise; null stays null.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)

from mulgil.errors import Invalid

_NUMPY_UNIT: dict[type[Any], str] = {YearTransform: "Y", MonthTransform: "M", DayTransform: "D", HourTransform: "h"}


def apply(transform: Any, column: pa.Array) -> pa.Array:
    """The transform of every value of `column`, whose type is one that `schema.to_arrow` makes."""
    if isinstance(transform, IdentityTransform):
        return column
    if isinstance(transform, VoidTransform):
        return pa.nulls(len(column), pa.int32())
    if type(transform) in _NUMPY_UNIT:
        return _period(column, _NUMPY_UNIT[type(transform)])
    if isinstance(transform, BucketTransform):
        return _bucket(column, transform.num_buckets)
    if isinstance(transform, TruncateTransform):
        return _truncate(column, transform.width)
    raise Invalid(f"partition transform {transform} is not known")


def _period(column: pa.Array, unit: str) -> pa.Array:
    """Whole periods since 1970, rounded down also before it."""
    if pa.types.is_date(column.type):
        values, source = _filled(column.view(pa.int32())).astype(np.int64), "D"
    else:
        values, source = _filled(column.view(pa.int64())), "us"
    periods = values.view(f"M8[{source}]").astype(f"M8[{unit}]").astype(np.int64)
    return _with_nulls_of(column, periods.astype(np.int32))


def _truncate(column: pa.Array, width: int) -> pa.Array:
    if pa.types.is_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, width)
    if pa.types.is_binary(column.type):
        return pc.binary_slice(column, 0, width)
    if pa.types.is_decimal(column.type):
        encoded = column.dictionary_encode()
        scale = column.type.scale
        unscaled = [int(value.scaleb(scale)) for value in encoded.dictionary.to_pylist()]
        cut = pa.array([_decimal(one - one % width, scale) for one in unscaled], column.type)
        return cut.take(encoded.indices)
    values = _filled(column)
    return _with_nulls_of(column, values - values % values.dtype.type(width))


def _decimal(unscaled: int, scale: int) -> Any:
    return Decimal(unscaled).scaleb(-scale, Context(prec=40))


def _bucket(column: pa.Array, buckets: int) -> pa.Array:
    kind = column.type
    if pa.types.is_decimal(kind):
        encoded = column.dictionary_encode()
        unscaled = [int(value.scaleb(kind.scale)) for value in encoded.dictionary.to_pylist()]
        least = [
            one.to_bytes((one if one >= 0 else ~one).bit_length() // 8 + 1, "big", signed=True) for one in unscaled
        ]
        hashes = pa.array(_murmur_bytes(pa.array(least, pa.binary()))).take(encoded.indices)
        hashed = _filled(hashes)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        hashed = _murmur_bytes(column.cast(pa.binary()))
    elif pa.types.is_int32(kind) or pa.types.is_date(kind):
        hashed = _murmur_longs(_filled(column.view(pa.int32())).astype(np.int64))
    else:
        hashed = _murmur_longs(_filled(column.view(pa.int64())))
    return _with_nulls_of(column, ((hashed & 0x7FFFFFFF) % buckets).astype(np.int32))


def _filled(column: pa.Array) -> npt.NDArray[Any]:
    """The values as numpy's, nulls as zero."""
    if column.null_count:
        column = pc.fill_null(column, 0)
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _with_nulls_of(column: pa.Array, values: npt.NDArray[Any]) -> pa.Array:
    mask = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    return pa.array(values, mask=mask)


_U32 = npt.NDArray[np.uint32]
_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)


def _murmur_longs(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Murmur3 x86 32 with seed 0 of each value's 8 little-endian bytes."""
    words = np.ascontiguousarray(values, "<i8").view("<u4").reshape(-1, 2)
    hashes = np.zeros(len(values), np.uint32)
    for at in range(2):
        hashes = _mixed(hashes, words[:, at])
    return _finished(hashes, np.full(len(values), 8, np.uint32))


def _murmur_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """Murmur3 x86 32 with seed 0 of each binary value (null: of nothing), word by word over all values at once."""
    column = pc.fill_null(column, b"")
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    starts, lengths = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    hashes = np.zeros(len(column), np.uint32)
    for at in range(int(lengths.max(initial=0)) // 4):
        left = np.flatnonzero(lengths // 4 > at)
        words = np.zeros(len(left), np.uint32)
        for byte in range(4):
            words |= data[starts[left] + (4 * at + byte)].astype(np.uint32) << np.uint32(8 * byte)
        hashes[left] = _mixed(hashes[left], words)
    tails = np.zeros(len(column), np.uint32)
    for byte in range(3):
        left = np.flatnonzero(lengths % 4 > byte)
        tails[left] |= data[starts[left] + lengths[left] // 4 * 4 + byte].astype(np.uint32) << np.uint32(8 * byte)
    hashes ^= _rotated(tails * _C1, 15) * _C2
    return _finished(hashes, lengths.astype(np.uint32))


def _mixed(hashes: _U32, words: _U32) -> _U32:
    hashes = hashes ^ (_rotated(words * _C1, 15) * _C2)
    return _rotated(hashes, 13) * np.uint32(5) + np.uint32(0xE6546B64)


def _finished(hashes: _U32, lengths: _U32) -> npt.NDArray[np.int64]:
    hashes = hashes ^ lengths
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    return (hashes ^ (hashes >> np.uint32(16))).view(np.int32).astype(np.int64)


def _rotated(values: _U32, bits: int) -> _U32:
    return (values << np.uint32(bits)) | (values >> np.uint32(32 - bits))
