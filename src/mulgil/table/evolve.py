"""A table's schema grows with its data: columns are added, numbers widen, nothing is dropped.

Rules: https://iceberg.apache.org/spec/#schema-evolution. What the rules forbid is answered as a conflict, and the
caller (delivery) puts such values somewhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    PrimitiveType,
    StructType,
)

from mulgil.table.metadata import Table, with_schema
from mulgil.table.schema import is_list, struct_of, type_of, widens


@dataclass(frozen=True)
class Evolution:
    """What has to happen so that rows of some schema fit a table. Names of nested columns are dotted: `user.city`,
    `tags.element`."""

    table: Table
    """The table with the grown schema, not stored yet: write files for it and stage them; the same table when nothing
    changes."""
    added: list[str]
    """Columns that the table did not have."""
    widened: list[str]
    """Columns that take a wider type."""
    conflicts: list[tuple[str, str, str]]
    """Columns whose values do not fit: name, Iceberg type in the table, type in the rows. The schema keeps its own."""


def evolve(table: Table, arrow_schema: pa.Schema) -> Evolution:
    """Grow the table's schema by what the rows bring. Columns that the rows lack stay; those of type null are no news.

    Raises `Invalid` for a type that Iceberg does not have.
    """
    growth = _Growth(table)
    struct = growth.struct(table.schema.as_struct(), arrow_schema, "")
    if not growth.added and not growth.widened:
        return Evolution(table, [], [], growth.conflicts)
    schema_id = max(one["schema-id"] for one in table.metadata["schemas"]) + 1
    grown = with_schema(table, Schema(*struct.fields, schema_id=schema_id), last_column_id=growth.last_id)
    return Evolution(grown, growth.added, growth.widened, growth.conflicts)


@dataclass
class _Growth:
    table: Table
    added: list[str] = field(default_factory=list)
    widened: list[str] = field(default_factory=list)
    conflicts: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last_id: int = self.table.metadata["last-column-id"]
        self._partitioned_by = {one.source_id for one in self.table.spec.fields}

    def struct(self, have: StructType, got: Iterable[pa.Field], path: str) -> StructType:
        fields = {one.name: one for one in have.fields}
        folded = {name.casefold(): name for name in fields}
        new: list[pa.Field] = []
        for arrow in got:
            name = f"{path}{arrow.name}"
            if pa.types.is_null(arrow.type):
                continue
            if arrow.name in fields:
                one = fields[arrow.name]
                fields[arrow.name] = _retyped(one, self._type(one.field_type, arrow.type, name, one.field_id))
            elif arrow.name.casefold() in folded:  # SQL engines would not tell the two columns apart
                self.conflicts.append((name, f"a column called {folded[arrow.name.casefold()]}", str(arrow.type)))
            else:
                folded[arrow.name.casefold()] = arrow.name
                new.append(arrow)
        for one in struct_of(new, self._next_id, path.rstrip(".")).fields:
            fields[one.name] = one
            self.added.append(f"{path}{one.name}")
        return StructType(*fields.values())

    def _type(self, have: IcebergType, got: pa.DataType, path: str, field_id: int) -> IcebergType:
        if isinstance(have, StructType) and pa.types.is_struct(got):
            return self.struct(have, got, f"{path}.")
        if isinstance(have, ListType) and is_list(got):
            if pa.types.is_null(got.value_type):
                return have
            element = self._type(have.element_type, got.value_type, f"{path}.element", have.element_id)
            return ListType(have.element_id, element, have.element_required)
        if isinstance(have, MapType) and pa.types.is_map(got):
            if isinstance(have.key_type, PrimitiveType) and _fits(have.key_type, self._fresh(got.key_type, path)):
                value = self._type(have.value_type, got.item_type, f"{path}.value", have.value_id)
                return MapType(have.key_id, have.key_type, have.value_id, value, have.value_required)
        elif isinstance(have, PrimitiveType) and not pa.types.is_nested(got):
            to = self._fresh(got, path)
            if _fits(have, to):
                return have
            # a partition's value is stored in its column's type, and only ints and longs look alike there
            if widens(have, to) and (field_id not in self._partitioned_by or isinstance(to, LongType)):
                self.widened.append(path)
                return to
        self.conflicts.append((path, _short(have), str(got)))
        return have

    def _fresh(self, got: pa.DataType, path: str) -> IcebergType:
        return type_of(got, self._next_id, path) if pa.types.is_nested(got) else type_of(got, int, path)

    def _next_id(self) -> int:
        self.last_id += 1
        return self.last_id


def _fits(have: IcebergType, got: IcebergType) -> bool:
    """Whether every value of type `got` can be stored as `have`. Whole numbers may go where fractions are kept."""
    if have == got or widens(got, have):
        return True
    return isinstance(have, DoubleType) and isinstance(got, IntegerType | LongType | FloatType)


def _retyped(one: NestedField, type_: IcebergType) -> NestedField:
    return NestedField(one.field_id, one.name, type_, one.required, doc=one.doc)


def _short(have: IcebergType) -> str:
    return (
        type(have).__name__.removesuffix("Type").lower()
        if isinstance(have, StructType | ListType | MapType)
        else str(have)
    )
