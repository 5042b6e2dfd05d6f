"""What a schema and a partition spec determine, worked out once and carried from commit to commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa
from pyiceberg.manifest import (
    MANIFEST_LIST_FILE_SCHEMAS,
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, NestedField, PrimitiveType, StructType
from pyiceberg.utils.decimal import decimal_required_bytes
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

from mulgil.table import avro
from mulgil.table.schema import as_json, parts, to_arrow, walk


@dataclass(frozen=True)
class Leaf:
    """A column of the Parquet file."""

    field_id: int
    name: str
    """Full name, dotted."""
    type: PrimitiveType
    repeated: bool
    """Inside a list or map: such columns have no bounds."""


class Layout:
    """A schema together with a partition spec."""

    def __init__(self, schema: Schema, spec: PartitionSpec) -> None:
        self.schema = schema
        self.spec = spec

    @cached_property
    def arrow(self) -> pa.Schema:
        """The schema of data files, with field ids."""
        return to_arrow(self.schema)

    @cached_property
    def columns(self) -> frozenset[tuple[int, str, Any]]:
        """Field id, full name and type (of nested ones the kind) of every column: what a file was written for."""
        return frozenset(
            (
                field.field_id,
                name,
                field.field_type if isinstance(field.field_type, PrimitiveType) else type(field.field_type),
            )
            for name, field in walk(self.schema.fields)
        )

    @cached_property
    def leaves(self) -> list[Leaf]:
        """The Parquet file's columns, in its order."""
        return list(_leaves(self.schema.fields, "", False))

    @cached_property
    def partition_types(self) -> list[PrimitiveType]:
        """The types of a partition's values."""
        types: list[Any] = [field.field_type for field in self.spec.partition_type(self.schema).fields]
        return types

    @cached_property
    def manifest_header(self) -> bytes:
        """The head of every manifest's Avro file."""
        return avro.header(
            self._entry_schema,
            {
                "schema": msgspec.json.encode(as_json(self.schema)).decode(),
                "partition-spec": msgspec.json.encode(spec_as_json(self.spec)["fields"]).decode(),
                "partition-spec-id": str(self.spec.spec_id),
                "format-version": "2",
                "content": "data",
            },
        )

    @cached_property
    def data_file(self) -> avro.Encoder:
        """Encodes the `data_file` of a manifest's entries."""
        return avro.Encoder(self._data_file_schema)

    @cached_property
    def data_file_fields(self) -> list[str]:
        """The names of that record's fields."""
        return [field["name"] for field in self._data_file_schema["fields"]]

    @cached_property
    def _entry_schema(self) -> Any:
        file = data_file_with_partition(self.spec.partition_type(self.schema), format_version=2)
        return AvroSchemaConversion().iceberg_to_avro(manifest_entry_schema_with_data_file(2, file), "manifest_entry")

    @cached_property
    def _data_file_schema(self) -> Any:
        return next(field["type"] for field in self._entry_schema["fields"] if field["name"] == "data_file")

    @cached_property
    def _partition_names(self) -> list[str]:
        """What the partition's fields are called in Avro."""
        partition = next(one["type"] for one in self._data_file_schema["fields"] if one["name"] == "partition")
        return [field["name"] for field in partition["fields"]]

    def partition_record(self, values: Sequence[Any]) -> dict[str, Any]:
        """A partition's values as Avro takes them."""
        return {
            name: _unscaled(value, type_) if isinstance(value, Decimal) and isinstance(type_, DecimalType) else value
            for name, value, type_ in zip(self._partition_names, values, self.partition_types, strict=True)
        }

    def partition_values(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        """The inverse of `partition_record`."""
        return tuple(
            _scaled(record[name], type_)
            if isinstance(type_, DecimalType) and record[name] is not None
            else record[name]
            for name, type_ in zip(self._partition_names, self.partition_types, strict=True)
        )


MANIFEST_FILE_SCHEMA = AvroSchemaConversion().iceberg_to_avro(MANIFEST_LIST_FILE_SCHEMAS[2], "manifest_file")


def spec_as_json(spec: PartitionSpec) -> dict[str, Any]:
    """As it stands in a metadata file."""
    value: dict[str, Any] = msgspec.json.decode(spec.model_dump_json())
    return value


def _leaves(fields: Sequence[NestedField], prefix: str, repeated: bool) -> Iterator[Leaf]:
    for field in fields:
        name, type_ = f"{prefix}{field.name}", field.field_type
        if isinstance(type_, PrimitiveType):
            yield Leaf(field.field_id, name, type_, repeated)
        else:
            yield from _leaves(parts(type_), f"{name}.", repeated or not isinstance(type_, StructType))


def _unscaled(value: Decimal, type_: DecimalType) -> bytes:
    size = decimal_required_bytes(type_.precision)
    return int(value.scaleb(type_.scale)).to_bytes(size, "big", signed=True)


def _scaled(data: bytes, type_: DecimalType) -> Decimal:
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-type_.scale)
