"""Iceberg's types in DuckDB's words, and quoting. `scan.py` and `nested.py` call this.

Types come in the JSON form of table metadata: https://iceberg.apache.org/spec/#appendix-c-json-serialization
"""

from __future__ import annotations

import re
from typing import Any

from mulgil.errors import Broken

_NAMES = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "timestamp_ns": "TIMESTAMP_NS",
    "timestamptz_ns": "TIMESTAMPTZ",
    "string": "VARCHAR",
    "uuid": "UUID",
    "binary": "BLOB",
    "unknown": "INTEGER",
}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)\Z")


def identifier(name: str) -> str:
    """The name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_type(kind: Any) -> str:
    """DuckDB's name of an Iceberg type. Raises `Broken` for a type that the engine cannot read."""
    if isinstance(kind, str):
        if kind in _NAMES:
            return _NAMES[kind]
        if decimal := _DECIMAL.match(kind):
            return f"DECIMAL({decimal[1]}, {decimal[2]})"
        if kind.startswith("fixed["):
            return "BLOB"
        raise Broken(f"a column has the type {kind}, which SQL cannot read here")
    if kind["type"] == "struct":
        return (
            "STRUCT(" + ", ".join(f"{identifier(one['name'])} {sql_type(one['type'])}" for one in kind["fields"]) + ")"
        )
    if kind["type"] == "list":
        return sql_type(kind["element"]) + "[]"
    if kind["type"] == "map":
        return f"MAP({sql_type(kind['key'])}, {sql_type(kind['value'])})"
    raise Broken(f"a column has the type {kind['type']}, which SQL cannot read here")
