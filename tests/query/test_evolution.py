"""A table's files were written under many schemas: every row is what the table's present schema makes of it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from conftest import Lake
from mulgil.query import Engine
from mulgil.query.scan import exactly


def rows(engine: Engine, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.run(sql).arrow().to_pylist()
    return found


def struct(**values: Any) -> dict[str, Any]:
    return values


@pytest.fixture
def grown(lake: Lake) -> Lake:
    """Three appends: columns added, nested fields added, ints widened."""
    place = pa.struct([("x", pa.int32())])
    lake.append(
        "bronze.t",
        pa.table(
            {
                "n": pa.array([1, 2], pa.int32()),
                "place": pa.array([{"x": 1}, None], place),
                "items": pa.array([[{"p": 1}], None], pa.list_(pa.struct([("p", pa.int32())]))),
            }
        ),
    )
    wide = pa.struct([("x", pa.int64()), ("y", pa.string()), ("z", pa.struct([("w", pa.bool_())]))])
    lake.append(
        "bronze.t",
        pa.table(
            {
                "n": [2**40],
                "place": pa.array([{"x": 2**40, "y": "high", "z": {"w": True}}], wide),
                "items": pa.array([[{"p": 2, "q": "q"}]], pa.list_(pa.struct([("p", pa.int64()), ("q", pa.string())]))),
                "late": ["new"],
            }
        ),
    )
    lake.append("bronze.t", pa.table({"n": [4], "place": pa.array([{"y": "only"}], pa.struct([("y", pa.string())]))}))
    return lake


def test_added_and_widened(grown: Lake, engine: Engine) -> None:
    none = {"x": None, "y": None, "z": None}
    assert rows(engine, "SELECT * FROM bronze.t ORDER BY n") == [
        struct(n=1, place=none | {"x": 1}, items=[{"p": 1, "q": None}], late=None),
        struct(n=2, place=None, items=None, late=None),
        struct(n=4, place=none | {"y": "only"}, items=None, late=None),
        struct(n=2**40, place={"x": 2**40, "y": "high", "z": {"w": True}}, items=[{"p": 2, "q": "q"}], late="new"),
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT place.x AS v FROM bronze.t ORDER BY n", [1, None, None, 2**40]),
        ("SELECT place.y AS v FROM bronze.t ORDER BY n", [None, None, "only", "high"]),
        ("SELECT place.z.w AS v FROM bronze.t ORDER BY n", [None, None, None, True]),
        ("SELECT n AS v FROM bronze.t WHERE place.y = 'high'", [2**40]),
        ("SELECT n AS v FROM bronze.t WHERE place.x = 1", [1]),
        ("SELECT n AS v FROM bronze.t WHERE place.y IS NULL ORDER BY n", [1, 2]),
        ("SELECT items[1].q AS v FROM bronze.t ORDER BY n", [None, None, None, "q"]),
        ("SELECT sum(items[1].p) AS v FROM bronze.t", [Decimal(3)]),
        ("SELECT late AS v FROM bronze.t WHERE late IS NOT NULL", ["new"]),
    ],
)
def test_one_nested_field_alone(grown: Lake, engine: Engine, sql: str, expected: list[Any]) -> None:
    assert [row["v"] for row in rows(engine, sql)] == expected


def test_schemas_no_snapshot_needs_any_more_may_be_gone(grown: Lake, engine: Engine) -> None:
    """Expiry forgets old schemas; the files themselves must be asked."""
    present = grown.catalog.load("bronze.t").schema.schema_id

    def forget(fields: list[dict[str, Any]]) -> None: ...

    grown.change_schema("bronze.t", forget)
    found = grown.catalog.load("bronze.t")
    kept = [one for one in found.metadata["schemas"] if one["schema-id"] > present]
    assert len(kept) == 1
    found.metadata["schemas"][:] = kept
    assert [row["v"] for row in rows(engine, "SELECT place.y AS v FROM bronze.t ORDER BY n")] == [
        None,
        None,
        "only",
        "high",
    ]


def test_renamed_and_dropped_and_added_again(lake: Lake, engine: Engine) -> None:
    place = pa.struct([("x", pa.int64()), ("y", pa.string())])
    entry = pa.map_(pa.string(), pa.struct([("m", pa.int64()), ("k", pa.int64())]))
    lake.append(
        "bronze.t",
        pa.table(
            {
                "a": [1],
                "b": ["b"],
                "place": pa.array([{"x": 7, "y": "old"}], place),
                "many": pa.array([[{"x": 8, "y": "old"}]], pa.list_(place)),
                "by": pa.array([[("k", {"m": 9, "k": 1})]], entry),
            }
        ),
    )

    def change(fields: list[dict[str, Any]]) -> None:
        by_name = {one["name"]: one for one in fields}
        by_name["a"]["name"] = "b"  # top level: a and b exchange their names
        by_name["b"]["name"] = "a"
        for kind, new in (
            (by_name["place"]["type"], 1001),
            (by_name["many"]["type"]["element"], 1002),
            (by_name["by"]["type"]["value"], 1003),
        ):
            kind["fields"][0]["name"] += "_renamed"
            old = kind["fields"][1]
            kind["fields"][1] = old | {"id": new, "type": "string"}  # dropped, and another one called so

    lake.change_schema("bronze.t", change)
    assert rows(engine, "SELECT * FROM bronze.t") == [
        struct(
            b=1,
            a="b",
            place={"x_renamed": 7, "y": None},
            many=[{"x_renamed": 8, "y": None}],
            by=[("k", {"m_renamed": 9, "k": None})],
        )
    ]
    assert rows(engine, "SELECT place.y AS v FROM bronze.t") == [{"v": None}]


def test_every_type(lake: Lake, engine: Engine) -> None:
    instant = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)
    table = pa.table(
        {
            "boolean": [True],
            "int": pa.array([1], pa.int32()),
            "long": [2**60],
            "float": pa.array([1.5], pa.float32()),
            "double": [1e300],
            "decimal": pa.array([Decimal("12.34")], pa.decimal128(9, 2)),
            "date": [dt.date(1969, 12, 31)],
            "time": pa.array([dt.time(9, 30, 1, 5)], pa.time64("us")),
            "timestamp": pa.array([instant.replace(tzinfo=None)], pa.timestamp("us")),
            "timestamptz": pa.array([instant], pa.timestamp("us", "UTC")),
            "string": ["물길 'quoted' \"name\""],
            "binary": [b"\x00\xff"],
            "fixed": pa.array([b"abcd"], pa.binary(4)),
            "odd \"name's": ["x"],
            "list": [[1, None]],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "struct": [{"a b": {"c": 1}}],
        }
    )
    lake.append("bronze.types", table)
    found = engine.run("SELECT * FROM bronze.types").arrow()
    assert found.to_pylist() == table.to_pylist()
    assert found.schema.field("timestamptz").type == pa.timestamp("us", "UTC")
    assert found.schema.field("long").type == pa.int64()
    lake.append("bronze.nothing", table.slice(0, 0))
    assert engine.run("SELECT * FROM bronze.nothing").schema == found.schema


def test_a_path_with_signs_of_patterns(lake: Lake, engine: Engine, tmp_path: Any) -> None:
    lake.append("bronze.t", pa.table({"a": [1]}))
    lake.append("bronze.t", pa.table({"a": [2]}))
    found = lake.catalog.load("bronze.t")
    [first, second] = found.files()
    assert exactly(first.path) == first.path
    odd = first.path.replace("bronze", "bron[z]e*")
    assert exactly(odd).count("[[]") == 1
    lake.store.put(odd, lake.store.get(first.path))
    lake.store.put(odd.replace("*", "**"), lake.store.get(second.path))
    if engine._sessions.external_access:
        sql = f"SELECT a FROM read_parquet('{exactly(odd)}')"
        assert rows(engine, sql) == [{"a": 1}]


def test_instants_are_in_utc(lake: Lake, engine: Engine) -> None:
    lake.append("bronze.t", pa.table({"moment": pa.array([0], pa.timestamp("us", "UTC"))}))
    result = engine.run("SELECT moment, [moment] AS many, {'a': moment} AS s, moment::VARCHAR AS text FROM bronze.t")
    assert result.schema.field("moment").type.tz == "UTC"
    assert result.schema.field("many").type.value_type.tz == "UTC"
    assert result.schema.field("s").type[0].type.tz == "UTC"
    assert result.arrow().column("text").to_pylist() == ["1970-01-01 00:00:00+00"]
