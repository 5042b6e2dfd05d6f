"""A schema grows, never shrinks, and says what does not fit."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mulgil import table
from mulgil.errors import Invalid
from mulgil.table.schema import FIELD_ID, to_arrow, to_iceberg, walk

EVERY = pa.schema(
    {
        "flag": pa.bool_(), "small": pa.int8(), "int": pa.int32(), "wide": pa.uint32(), "long": pa.int64(),
        "half": pa.float16(), "double": pa.float64(), "text": pa.large_string(),
        "word": pa.dictionary(pa.int32(), pa.string()),
        "bytes": pa.binary(), "fixed": pa.binary(4), "day": pa.date32(), "time": pa.time64("us"),
        "local": pa.timestamp("ns"),
        "moment": pa.timestamp("ms", "Asia/Seoul"), "price": pa.decimal128(12, 2), "nothing": pa.null(),
        "user": pa.struct({"id": pa.int64(), "tags": pa.list_(pa.struct({"k": pa.string()}))}),
        "labels": pa.map_(pa.string(), pa.int32()),
    }
)  # fmt: skip


def of(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(columns)


def empty(schema: pa.Schema, partition: tuple[str, ...] = ()) -> table.Table:
    return table.new("bronze.web", "/lake/bronze/web", schema, partition=partition)


def ids(grown: table.Table) -> dict[str, int]:
    return {name: field.field_id for name, field in walk(grown.schema.fields)}


def test_every_arrow_type_finds_its_iceberg_type_and_comes_back() -> None:
    schema = to_iceberg(EVERY)
    assert "nothing" not in schema.column_names
    back = to_arrow(schema)
    assert to_iceberg(back) == schema
    assert back.field("moment").type == pa.timestamp("us", "UTC")
    assert back.field("wide").type == pa.int64()
    numbers = [field.field_id for _, field in walk(schema.fields)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert all(field.metadata[FIELD_ID] for field in back)
    assert all(not field.required for _, field in walk(schema.fields) if field.name != "key")


@pytest.mark.parametrize("arrow", [pa.uint64(), pa.duration("s"), pa.decimal256(60, 2)])
def test_types_that_iceberg_lacks_are_refused_by_name(arrow: pa.DataType) -> None:
    with pytest.raises(Invalid, match="no type") as caught:
        empty(pa.schema({"user": pa.struct({"x": arrow})}))
    assert caught.value.where.endswith("user.x")


def test_columns_are_added_at_every_depth_and_old_ids_stay() -> None:
    first = empty(
        of(id=pa.int64(), user=pa.struct({"name": pa.string()}), items=pa.list_(pa.struct({"sku": pa.string()})))
    )
    new = of(
        items=pa.list_(pa.struct({"price": pa.float64()})),
        user=pa.struct({"city": pa.string(), "name": pa.string()}),
        extra=pa.struct({"a": pa.int32()}),
    )
    result = table.evolve(first, new)
    assert result.added == ["items.element.price", "user.city", "extra"]
    assert (result.widened, result.conflicts) == ([], [])
    before, after = ids(first), ids(result.table)
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == len(after)
    assert result.table.schema.schema_id == 1
    assert result.table.metadata["last-column-id"] == max(after.values())
    assert result.table.metadata_location is None
    again = table.evolve(result.table, new)
    assert again.table is result.table


def test_numbers_widen_and_narrow_ones_fit_as_they_are() -> None:
    first = empty(
        of(
            a=pa.int32(),
            b=pa.float32(),
            c=pa.decimal128(9, 2),
            d=pa.int64(),
            e=pa.float64(),
            s=pa.struct({"x": pa.int32()}),
        )
    )
    result = table.evolve(
        first,
        of(
            a=pa.int64(),
            b=pa.float64(),
            c=pa.decimal128(12, 2),
            d=pa.int32(),
            e=pa.int64(),
            s=pa.struct({"x": pa.int64()}),
        ),
    )
    assert result.widened == ["a", "b", "c", "s.x"]
    assert (result.added, result.conflicts) == ([], [])
    types = {field.name: str(field.field_type) for field in result.table.schema.fields}
    assert types | {"s": ""} == {"a": "long", "b": "double", "c": "decimal(12, 2)", "d": "long", "e": "double", "s": ""}


def test_what_does_not_fit_is_a_conflict_and_the_rest_goes_on() -> None:
    first = empty(
        of(a=pa.int64(), b=pa.string(), c=pa.struct({"x": pa.int64()}), d=pa.list_(pa.int64()), Name=pa.string())
    )
    result = table.evolve(
        first,
        of(
            a=pa.string(),
            b=pa.int64(),
            c=pa.string(),
            d=pa.list_(pa.string()),
            name=pa.string(),
            new=pa.bool_(),
            z=pa.null(),
        ),
    )
    assert [one[0] for one in result.conflicts] == ["a", "b", "c", "d.element", "name"]
    assert result.conflicts[0] == ("a", "long", "string")
    assert result.added == ["new"]


def test_a_partitions_column_widens_only_where_its_values_stay_readable() -> None:
    first = empty(of(a=pa.int32(), b=pa.float32()), ("a", "b"))
    result = table.evolve(first, of(a=pa.int64(), b=pa.float64()))
    assert result.widened == ["a"]
    assert result.conflicts == [("b", "float", "double")]
