"""Rows in any shape become rows in the table's."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from mulgil.errors import Invalid
from mulgil.table.conform import conform
from mulgil.table.schema import to_arrow, to_iceberg

WANTED = to_arrow(
    to_iceberg(
        pa.schema(
            {
                "id": pa.int64(),
                "text": pa.string(),
                "price": pa.decimal128(12, 2),
                "at": pa.timestamp("us", "UTC"),
                "user": pa.struct({"name": pa.string(), "age": pa.int64()}),
                "items": pa.list_(pa.struct({"sku": pa.string(), "n": pa.int64()})),
                "labels": pa.map_(pa.string(), pa.int64()),
                "score": pa.float64(),
            }
        )
    )
)


def test_columns_are_ordered_cast_and_filled_at_every_depth() -> None:
    rows = pa.table(
        {
            "score": pa.array([1, 2, None], pa.int64()),
            "labels": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
            "items": pa.array([[{"n": 1}, None], None, []], pa.large_list(pa.struct({"n": pa.int32()}))),
            "user": pa.array([{"age": 3}, None, {"age": None}], pa.struct({"age": pa.int8()})),
            "at": pa.array([1, 2, 3], pa.timestamp("ns")),
            "price": pa.array([Decimal("1.50"), None, Decimal(7)], pa.decimal128(9, 2)),
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "void": pa.nulls(3),
        }
    )
    got = conform(rows, WANTED)
    assert got.schema.equals(WANTED, check_metadata=True)
    assert got.drop_columns(["at"]).to_pylist() == [
        {
            "id": None, "text": "a", "price": Decimal("1.50"), "user": {"name": None, "age": 3},
            "items": [{"sku": None, "n": 1}, None], "labels": [("a", 1)], "score": 1.0,
        },
        {"id": None, "text": "b", "price": None, "user": None, "items": None, "labels": None, "score": 2.0},
        {
            "id": None, "text": "a", "price": Decimal("7.00"), "user": {"name": None, "age": None},
            "items": [], "labels": [], "score": None,
        },
    ]  # fmt: skip
    assert conform(got, WANTED).equals(got)


def test_a_slice_keeps_its_own_parts() -> None:
    numbers = range(6)
    rows = pa.table(
        {
            "items": pa.array(
                [None if at == 3 else [{"n": at}] * at for at in numbers], pa.list_(pa.struct({"n": pa.int32()}))
            ),
            "labels": pa.array(
                [None if at == 3 else [("k", at)] * at for at in numbers], pa.map_(pa.string(), pa.int32())
            ),
            "user": pa.array([None if at == 3 else {"age": at} for at in numbers], pa.struct({"age": pa.int32()})),
        }
    )
    got = conform(rows.slice(2, 3), WANTED).select(["items", "labels", "user"]).to_pylist()
    assert got == [
        {
            "items": [{"sku": None, "n": at}] * at,
            "labels": [("k", at)] * at,
            "user": {"name": None, "age": at},
        }
        if at != 3
        else {"items": None, "labels": None, "user": None}
        for at in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("unknown", pa.array([1])),
        ("id", pa.array(["x"])),
        ("user", pa.array(["x"])),
        ("user", pa.array([{"shoe": 1}])),
        ("price", pa.array(["one"])),
    ],
)
def test_what_does_not_fit_is_named(name: str, column: pa.Array) -> None:
    with pytest.raises(Invalid, match=name):
        conform(pa.table({name: column}), WANTED)
