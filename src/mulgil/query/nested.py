"""Files whose nested columns are not those that the table has now.

DuckDB finds top-level columns by field id and nested ones by name. So a nested field that was renamed would read as
NULL, one that was dropped and added again would show its old values, and on DuckDB 2.0 a query for one that a file
lacks breaks the engine down (`SELECT st.y`, "Attempted to access index 1 within vector of size 1"). A table with
structs therefore has its files' own schemas read (once each), and files that differ get an expression that says which
field is which. `scan.py` calls this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from mulgil.query.types import identifier, sql_type

Names = dict[int, str]
"""Names of the fields inside structs, by field id."""

_FIELD_ID = b"PARQUET:field_id"
_ABSENT = {"id": -1, "name": "__absent", "type": "int"}
"""Stands in a struct of which the file has no field: SQL has no empty struct."""


def names_of(fields: Iterable[dict[str, Any]]) -> Names:
    """What a table calls the fields inside its structs."""
    found: Names = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, str):
            return
        if kind["type"] == "struct":
            for one in kind["fields"]:
                found[one["id"]] = one["name"]
                visit(one["type"])
        elif kind["type"] == "list":
            visit(kind["element"])
        else:
            visit(kind["key"])
            visit(kind["value"])

    for column in fields:
        visit(column["type"])
    return found


def names_in(schema: pa.Schema) -> Names:
    """What a data file calls the fields inside its structs, from its Arrow schema with field ids."""
    found: Names = {}

    def visit(kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for one in kind:
                id_ = (one.metadata or {}).get(_FIELD_ID)
                if id_ is not None:
                    found[int(id_)] = one.name
                visit(one.type)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            visit(kind.value_type)
        elif pa.types.is_map(kind):
            visit(kind.key_type)
            visit(kind.item_type)

    for column in schema:
        visit(column.type)
    return found


def as_written(kind: Any, names: Mapping[int, str]) -> Any:
    """The type with the file's own names; fields that the file does not have are left out."""
    if isinstance(kind, str):
        return kind
    if kind["type"] == "struct":
        fields = [
            one | {"name": names[one["id"]], "type": as_written(one["type"], names)}
            for one in kind["fields"]
            if one["id"] in names
        ]
        return kind | {"fields": fields or [_ABSENT]}
    if kind["type"] == "list":
        return kind | {"element": as_written(kind["element"], names)}
    return kind | {"key": as_written(kind["key"], names), "value": as_written(kind["value"], names)}


def as_named(kind: Any, names: Mapping[int, str], value: str, depth: int = 0) -> str:
    """SQL that turns `value`, of the type `as_written(kind, names)`, into the table's own type."""
    if isinstance(kind, str):
        return value
    each = f"each_{depth}"
    if kind["type"] == "struct":
        parts = [
            f"{identifier(one['name'])} := "
            + (
                as_named(one["type"], names, f"{value}.{identifier(names[one['id']])}", depth)
                if one["id"] in names
                else f"CAST(NULL AS {sql_type(one['type'])})"
            )
            for one in kind["fields"]
        ]
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE struct_pack({', '.join(parts)}) END"
    if kind["type"] == "list":
        return f"list_transform({value}, lambda {each}: {as_named(kind['element'], names, each, depth + 1)})"
    entry = (
        f"struct_pack(key := {as_named(kind['key'], names, f'{each}.key', depth + 1)},"
        f" value := {as_named(kind['value'], names, f'{each}.value', depth + 1)})"
    )
    return (
        f"CASE WHEN {value} IS NULL THEN NULL ELSE"
        f" map_from_entries(list_transform(map_entries({value}), lambda {each}: {entry})) END"
    )
