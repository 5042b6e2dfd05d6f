"""Partition texts, and rows told apart by them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mulgil.errors import Invalid
from mulgil.table.partition import path_of, spec_of, split
from mulgil.table.schema import to_iceberg

ARROW = pa.schema(
    {
        "event_time": pa.timestamp("us", "UTC"),
        "user": pa.struct({"id": pa.int64(), "country": pa.string()}),
        "code": pa.string(),
        "price": pa.float64(),
        "a.b": pa.int64(),
        "tags": pa.list_(pa.string()),
    }
)
SCHEMA = to_iceberg(ARROW)


@pytest.mark.parametrize(
    ("text", "transform", "name"),
    [
        ("day(event_time)", "day", "event_time_day"),
        ("  Days( event_time ) ", "day", "event_time_day"),
        ("hour(event_time)", "hour", "event_time_hour"),
        ("month(event_time)", "month", "event_time_month"),
        ("year(event_time)", "year", "event_time_year"),
        ("bucket(16, user.id)", "bucket[16]", "user.id_bucket"),
        ("truncate(4,code)", "truncate[4]", "code_trunc"),
        ("code", "identity", "code"),
        ("identity(code)", "identity", "code"),
    ],
)
def test_texts_become_a_spec(text: str, transform: str, name: str) -> None:
    (field,) = spec_of([text], SCHEMA).fields
    assert (str(field.transform), field.name, field.field_id) == (transform, name, 1000)


@pytest.mark.parametrize(
    "texts",
    [
        ["day(nothing)"], ["day(code)"], ["decade(event_time)"], ["bucket(0, code)"], ["bucket(code)"],
        ["day(3, event_time)"], ["bucket(16, price)"], [""], ["day("], ["user"], ["code", "code"], ["tags.element"],
        ["day(event_time)", "days(event_time)"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_hint(texts: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        spec_of(texts, SCHEMA, where="bronze.web")
    assert caught.value.where == "bronze.web"
    assert caught.value.hint


def rows(values: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(values, schema=ARROW)


def test_rows_are_split_in_their_order() -> None:
    spec = spec_of(["truncate(1, code)", "user.country"], SCHEMA)
    table = rows(
        [
            {"code": code, "a.b": at, "user": None if country == "-" else {"id": 1, "country": country}}
            for at, (code, country) in enumerate(
                [("x1", "kr"), ("y", "kr"), ("x2", None), ("x3", "kr"), (None, "kr"), ("x4", "-"), ("x5", "kr")]
            )
        ]
    )
    found = {partition: part["a.b"].to_pylist() for partition, part in split(table, spec, SCHEMA)}
    assert found == {("x", "kr"): [0, 3, 6], ("y", "kr"): [1], ("x", None): [2, 5], (None, "kr"): [4]}


def test_one_partition_is_not_copied() -> None:
    table = rows([{"event_time": 1, "code": "a"}, {"event_time": 2, "code": "a"}])
    ((partition, part),) = split(table, spec_of(["day(event_time)", "code"], SCHEMA), SCHEMA)
    assert partition == (0, "a")
    assert part is table
    assert split(table.slice(0, 0), spec_of(["code"], SCHEMA), SCHEMA) == []
    assert [one[0] for one in split(table, spec_of([], SCHEMA), SCHEMA)] == [()]


def test_a_column_with_a_dot_in_its_name_is_found() -> None:
    found = split(rows([{"a.b": 1}, {"a.b": None}]), spec_of(["a.b"], SCHEMA), SCHEMA)
    assert sorted((one[0] for one in found), key=str) == [(1,), (None,)]


def test_nan_is_a_value_of_its_own() -> None:
    found = split(
        rows([{"price": float("nan")}, {"price": 1.0}, {"price": float("nan")}]), spec_of(["price"], SCHEMA), SCHEMA
    )
    assert sorted(len(part) for _, part in found) == [1, 2]


def test_paths_are_readable_and_safe() -> None:
    spec = spec_of(["day(event_time)", "code"], SCHEMA)
    assert path_of(spec, SCHEMA, (20416, "a/b c")) == "event_time_day=2025-11-24/code=a%2Fb+c"
    assert path_of(spec, SCHEMA, (None, None)) == "event_time_day=null/code=null"


def test_the_folder_of_a_long_value_has_a_name_that_file_systems_take() -> None:
    folder = path_of(spec_of(["code"], SCHEMA), SCHEMA, ("한" * 300,))
    assert folder.startswith("code=%ED%95%9C")
    assert len(folder) <= 255
