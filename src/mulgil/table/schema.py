"""Arrow schemas and Iceberg schemas: one from the other, with field ids.

Types: https://iceberg.apache.org/spec/#primitive-types. Every column is optional. What Iceberg v2 has no word for is
widened where nothing is lost (uint32 to long) and refused otherwise (uint64).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    PrimitiveType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from mulgil.errors import Invalid

FIELD_ID = b"PARQUET:field_id"
"""Key of an Arrow field's metadata under which Arrow's Parquet writer looks for the field's id."""

_ARROW_OF: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", "UTC"),
    StringType: pa.string(),
    BinaryType: pa.binary(),
    UUIDType: pa.binary(16),
}


def to_iceberg(schema: pa.Schema, *, where: str = "") -> Schema:
    """An Iceberg schema with fresh ids, the top level's first. A column of Arrow's type null is left out."""
    ids = iter(range(1, 1 << 31))
    return Schema(*struct_of(schema, lambda: next(ids), where).fields, schema_id=0)


def struct_of(fields: Iterable[pa.Field], next_id: Callable[[], int], where: str) -> StructType:
    """The struct of these Arrow fields, with new ids. Raises `Invalid`."""
    known = [field for field in fields if not pa.types.is_null(field.type)]
    twice = [name for name, count in Counter(field.name.casefold() for field in known).items() if count > 1]
    if twice:
        raise Invalid(f"two columns are called {twice[0]!r}", where=where, hint="letter case does not tell them apart")
    numbered = [(field, next_id()) for field in known]
    return StructType(
        *(
            NestedField(id_, field.name, type_of(field.type, next_id, f"{where}.{field.name}".lstrip(".")), False)
            for field, id_ in numbered
        )
    )


def type_of(arrow: pa.DataType, next_id: Callable[[], int], where: str) -> IcebergType:
    """The Iceberg type of an Arrow type, its nested fields with new ids. Raises `Invalid`."""
    if pa.types.is_dictionary(arrow):
        return type_of(arrow.value_type, next_id, where)
    if pa.types.is_struct(arrow):
        return struct_of(arrow, next_id, where)
    if is_list(arrow):
        id_ = next_id()
        return ListType(id_, type_of(arrow.value_type, next_id, f"{where}.element"), False)
    if pa.types.is_map(arrow):
        key, value = next_id(), next_id()
        return MapType(
            key,
            type_of(arrow.key_type, next_id, f"{where}.key"),
            value,
            type_of(arrow.item_type, next_id, f"{where}.value"),
            False,
        )
    return _primitive_of(arrow, where)


def is_list(arrow: pa.DataType) -> bool:
    """Whether it is one of Arrow's list types."""
    return bool(
        pa.types.is_list(arrow)
        or pa.types.is_large_list(arrow)
        or pa.types.is_fixed_size_list(arrow)
        or pa.types.is_list_view(arrow)
        or pa.types.is_large_list_view(arrow)
    )


def _primitive_of(arrow: pa.DataType, where: str) -> PrimitiveType:
    types = pa.types
    if types.is_boolean(arrow):
        return BooleanType()
    if types.is_integer(arrow) and not types.is_uint64(arrow):
        return LongType() if types.is_int64(arrow) or types.is_uint32(arrow) else IntegerType()
    if types.is_floating(arrow):
        return DoubleType() if types.is_float64(arrow) else FloatType()
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return StringType()
    if types.is_fixed_size_binary(arrow):
        return FixedType(arrow.byte_width)
    if types.is_binary(arrow) or types.is_large_binary(arrow) or types.is_binary_view(arrow):
        return BinaryType()
    if types.is_date(arrow):
        return DateType()
    if types.is_time(arrow):
        return TimeType()
    if types.is_timestamp(arrow):
        return TimestampType() if arrow.tz is None else TimestamptzType()
    if types.is_decimal(arrow) and arrow.precision <= 38 and arrow.scale >= 0:
        return DecimalType(arrow.precision, arrow.scale)
    hint = "cast it to a long or a decimal" if types.is_uint64(arrow) else "cast it to a string"
    raise Invalid(f"Iceberg has no type for Arrow's {arrow}", where=where, hint=hint)


def to_arrow(schema: Schema) -> pa.Schema:
    """The Arrow schema of a table's data files: field ids in the metadata, strings with 32-bit offsets."""
    return pa.schema([_arrow_field(field) for field in schema.fields])


def _arrow_field(field: NestedField) -> pa.Field:
    return _numbered(field.name, _arrow_type(field.field_type), field.field_id)


def _numbered(name: str, arrow: pa.DataType, id_: int, nullable: bool = True) -> pa.Field:
    return pa.field(name, arrow, nullable=nullable, metadata={FIELD_ID: str(id_).encode()})


def _arrow_type(iceberg: IcebergType) -> pa.DataType:
    match iceberg:
        case StructType():
            return pa.struct([_arrow_field(field) for field in iceberg.fields])
        case ListType():
            return pa.list_(_numbered("element", _arrow_type(iceberg.element_type), iceberg.element_id))
        case MapType():
            key = _numbered("key", _arrow_type(iceberg.key_type), iceberg.key_id, nullable=False)
            return pa.map_(key, _numbered("value", _arrow_type(iceberg.value_type), iceberg.value_id))
        case DecimalType():
            return pa.decimal128(iceberg.precision, iceberg.scale)
        case FixedType():
            return pa.binary(len(iceberg))
    if type(iceberg) not in _ARROW_OF:
        raise Invalid(f"Iceberg's type {iceberg} is not read here", hint="format version 2 does not have it")
    return _ARROW_OF[type(iceberg)]


def widens(have: Any, to: Any) -> bool:
    """Whether Iceberg lets a column of type `have` become one of type `to` (equal types: no)."""
    match have, to:
        case IntegerType(), LongType():
            return True
        case FloatType(), DoubleType():
            return True
        case DecimalType(), DecimalType():
            return have.scale == to.scale and have.precision < to.precision
    return False


def walk(fields: Iterable[NestedField], prefix: str = "") -> Iterator[tuple[str, NestedField]]:
    """Every field with its full name (`user.tags.element`), those inside others after them."""
    for field in fields:
        name = f"{prefix}{field.name}"
        yield name, field
        yield from walk(parts(field.field_type), f"{name}.")


def parts(type_: IcebergType) -> tuple[NestedField, ...]:
    """The fields right inside a struct, list or map; none inside others."""
    match type_:
        case StructType():
            return tuple(type_.fields)
        case ListType():
            return (type_.element_field,)
        case MapType():
            return (type_.key_field, type_.value_field)
    return ()


def as_json(schema: Schema) -> dict[str, object]:
    """As it stands in a metadata file."""
    value: dict[str, object] = msgspec.json.decode(schema.model_dump_json())
    return value
