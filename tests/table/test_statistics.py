"""Bounds hold every value of their file, however they are cut."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulgil import table
from mulgil.storage import MemoryStore
from mulgil.table.statistics import _raised_bytes, _raised_text

SETTINGS = table.TableSettings(row_group_rows=3)


def statistics(column: pa.Array) -> table.ColumnStatistics:
    rows = pa.table({"c": column})
    store, new = MemoryStore(), table.new("a.b", "/lake/a/b", rows.schema)
    staged = table.stage_append(
        store, new, table.write_files(store, new, rows, SETTINGS, 0), settings=SETTINGS, now_us=0
    )
    (file,) = staged.table.files()
    return staged.table.statistics(file)["c"]


@pytest.mark.parametrize(
    ("values", "arrow", "lower", "upper"),
    [
        ([3, None, -7, 5, 2**31], pa.int64(), -7, 2**31),
        ([True, False, None, True], pa.bool_(), False, True),
        ([b"\x01", b"\xff" * 20], pa.binary(), b"\x01", None),
        ([0, -1], pa.date32(), -1, 0),
        ([-(10**16), 10**16], pa.timestamp("us", "UTC"), -(10**16), 10**16),
        ([Decimal("-1.28"), Decimal("1.28"), None], pa.decimal128(9, 2), Decimal("-1.28"), Decimal("1.28")),
        (["물길" * 10, "a" * 16], pa.string(), "a" * 16, "물길" * 7 + "물긹"),
        ([1.5, -0.0, None], pa.float64(), -0.0, 1.5),
        ([None, None], pa.string(), None, None),
    ],
)
def test_bounds_and_counts(values: list[Any], arrow: pa.DataType, lower: Any, upper: Any) -> None:
    found = statistics(pa.array(values, arrow))
    assert (found.lower, found.upper) == (lower, upper)
    assert (found.value_count, found.null_count) == (len(values), values.count(None))


def test_nan_is_counted_and_no_bound() -> None:
    found = statistics(pa.array([1.0, float("nan"), None, 2.0]))
    assert (found.lower, found.upper, found.nan_count, found.null_count) == (1.0, 2.0, 1, 1)
    assert statistics(pa.array([float("nan")])).upper is None


@given(st.text(min_size=1))
@settings(deadline=None)
def test_a_raised_text_is_above_and_short(text: str) -> None:
    raised = _raised_text(text.encode())
    assert raised is None or (raised >= text.encode() and len(raised.decode()) <= 16)
    assert raised is not None or set(text[:16]) == {"\U0010ffff"}


@given(st.binary(min_size=1))
def test_raised_bytes_are_above_and_short(data: bytes) -> None:
    raised = _raised_bytes(data)
    assert raised is None or (raised >= data and len(raised) <= 16)


def test_parts_of_structs_have_bounds_and_those_of_lists_have_none() -> None:
    rows = pa.table(
        {"user": [{"id": 5, "tags": ["a"]}, None], "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64()))}
    )
    store, new = MemoryStore(), table.new("a.b", "/lake/a/b", rows.schema)
    staged = table.stage_append(
        store, new, table.write_files(store, new, rows, SETTINGS, 0), settings=SETTINGS, now_us=0
    )
    found = staged.table.statistics(staged.table.files()[0])
    assert list(found) == ["user.id"]
    assert (found["user.id"].lower, found["user.id"].null_count) == (5, 1)
