"""A table's state as something that DuckDB can read: live files, and columns by field id.

A scan belongs to one metadata file, which never changes, so `engine.py` keeps scans by its location.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mulgil.query import nested
from mulgil.query.types import identifier, literal, sql_type
from mulgil.table import Table

Field = dict[str, Any]
"""A column in the JSON form of table metadata: id, name, required, type."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are read with one expression."""

    files: tuple[str, ...]
    names: nested.Names | None = None
    """What these files call the fields inside structs, where that is not what the table does; None: as the table."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a table holds at one snapshot."""

    table: str
    """`database.table`"""
    snapshot_id: int | None
    """None for a table that nothing was written to."""
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]
    size_bytes: int
    """Sum of the files' sizes."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files, each as DuckDB opens it."""
        return tuple(path for group in self.groups for path in group.files)

    def relation(self, variable: Callable[[int], str]) -> str:
        """A SELECT over the files; `variable(i)` names the SQL variable that holds the list of group i's files.

        A list of 10,000 paths costs more to parse than to hand in.
        """
        if not self.groups:
            columns = ", ".join(
                f"CAST(NULL AS {sql_type(one['type'])}) AS {identifier(one['name'])}" for one in self.fields
            )
            return f"SELECT {columns} WHERE false"
        return " UNION ALL ".join(self._select(group, variable(index)) for index, group in enumerate(self.groups))

    def _select(self, group: Group, variable: str) -> str:
        names = group.names
        columns = "*"
        fields: Sequence[Field] = self.fields
        if names is not None:
            columns = ", ".join(
                f"{nested.as_named(one['type'], names, identifier(one['name']))} AS {identifier(one['name'])}"
                for one in fields
            )
            fields = [one | {"type": nested.as_written(one["type"], names)} for one in fields]
        schema = ", ".join(
            f"{one['id']}: {{'name': {literal(one['name'])}, 'type': {literal(sql_type(one['type']))},"
            " 'default_value': NULL}"
            for one in fields
        )
        return f"SELECT {columns} FROM read_parquet(getvariable({literal(variable)}), schema = MAP {{{schema}}})"


def scan(table: Table, written: Callable[[str], pa.Schema]) -> Scan:
    """Plan the table as it is. `written(path)` reads the Arrow schema of a data file, asked where there are structs."""
    current = table.schema.schema_id  # a former snapshot has its own
    fields = next(one["fields"] for one in table.metadata["schemas"] if one["schema-id"] == current)
    files = table.files()
    wanted = nested.names_of(fields)
    groups: dict[tuple[tuple[int, str], ...] | None, list[str]] = {}
    for file in files:
        key = None
        if wanted:
            names = nested.names_in(written(file.path))
            kept = {id_: names[id_] for id_ in wanted if id_ in names}
            key = None if kept == wanted else tuple(kept.items())
        groups.setdefault(key, []).append(exactly(file.path))
    return Scan(
        table.name,
        table.snapshot_id,
        tuple(fields),
        tuple(Group(tuple(paths), None if key is None else dict(key)) for key, paths in groups.items()),
        sum(file.size_bytes for file in files),
    )


def exactly(path: str) -> str:
    """The path without `file://`, and as a pattern that matches itself alone."""
    path = path.removeprefix("file://")
    if not any(sign in path for sign in "*?["):
        return path
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in path)
