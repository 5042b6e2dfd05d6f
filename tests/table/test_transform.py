"""The vectorised partition transforms against PyIceberg's, value by value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.transforms import parse_transform
from pyiceberg.types import (
    BinaryType,
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from mulgil.table.transform import apply

LONG = st.integers(-(2**63) + 1000, 2**63 - 1)
MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
KINDS: dict[str, tuple[IcebergType, pa.DataType, st.SearchStrategy[Any]]] = {
    "int": (IntegerType(), pa.int32(), st.integers(-(2**31) + 1000, 2**31 - 1)),
    "long": (LongType(), pa.int64(), LONG),
    "date": (DateType(), pa.date32(), st.integers(-719_162, 2_932_896)),
    "timestamp": (TimestampType(), pa.timestamp("us"), MICROS),
    "timestamptz": (TimestamptzType(), pa.timestamp("us", "UTC"), MICROS),
    "string": (StringType(), pa.string(), st.text()),
    "binary": (BinaryType(), pa.binary(), st.binary()),
    "decimal": (DecimalType(20, 3), pa.decimal128(20, 3), st.integers(-(10**20) + 1000, 10**20 - 1)),
}
PAIRS = [
    *((f"{period}", kind) for period in ("year", "month", "day") for kind in ("date", "timestamp", "timestamptz")),
    ("hour", "timestamp"),
    ("hour", "timestamptz"),
    *(("bucket[16]", kind) for kind in KINDS),
    *((f"truncate[{width}]", kind) for width in (1, 7, 100) for kind in ("int", "long", "string", "binary", "decimal")),
    *(("identity", kind) for kind in KINDS),
]


@pytest.mark.parametrize(("text", "kind"), PAIRS)
def test_every_value_lands_where_pyiceberg_puts_it(text: str, kind: str) -> None:
    iceberg, arrow, values = KINDS[kind]
    transform = parse_transform(text)
    one_by_one = transform.transform(iceberg)

    @given(st.lists(st.none() | values, max_size=30), st.integers(0, 3))
    @settings(max_examples=15, deadline=None)
    def same(drawn: list[Any], skipped: int) -> None:
        if kind == "decimal":
            drawn = [None if one is None else Decimal(one).scaleb(-3) for one in drawn]
        column = pa.array(drawn, pa.int64() if pa.types.is_timestamp(arrow) else arrow)
        column = (column.view(arrow) if pa.types.is_timestamp(arrow) else column).slice(skipped)
        expected = [one_by_one(one) for one in drawn[skipped:]]
        got = apply(transform, column)
        if pa.types.is_temporal(got.type):
            got = got.view(pa.int64() if got.type.bit_width == 64 else pa.int32())
        assert got.to_pylist() == expected

    same()


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("day", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -1),
        ("hour", datetime(1969, 12, 31, 22, 30, tzinfo=UTC), -2),
        ("month", datetime(1969, 12, 31, tzinfo=UTC), -1),
        ("year", datetime(1968, 2, 29, tzinfo=UTC), -2),
        ("day", datetime(1970, 1, 1, tzinfo=UTC), 0),
        ("month", datetime(2026, 1, 31, tzinfo=UTC), 56 * 12),
    ],
)
def test_periods_round_down_also_before_1970(text: str, moment: datetime, expected: int) -> None:
    column = pa.array([moment], pa.timestamp("us", "UTC"))
    assert apply(parse_transform(text), column).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("value", "arrow", "expected"),
    [  # the specification's appendix B
        (34, pa.int32(), 2017239379),
        (34, pa.int64(), 2017239379),
        (Decimal("14.20"), pa.decimal128(9, 2), -500754589),
        (date(2017, 11, 16), pa.date32(), -653330422),
        (datetime(2017, 11, 16, 22, 31, 8), pa.timestamp("us"), -2047944441),
        (datetime(2017, 11, 16, 14, 31, 8) + timedelta(hours=8), pa.timestamp("us", "UTC"), -2047944441),
        ("iceberg", pa.string(), 1210000089),
        (b"\x00\x01\x02\x03", pa.binary(), -188683207),
    ],
)
def test_buckets_are_the_specifications_hashes(value: Any, arrow: pa.DataType, expected: int) -> None:
    buckets = 2**31 - 1
    got = apply(parse_transform(f"bucket[{buckets}]"), pa.array([value], arrow))
    assert got.to_pylist() == [(expected & 0x7FFFFFFF) % buckets]
