"""A column of whole numbers becomes one of doubles, which Iceberg's own rules forbid: its files are written anew.

Called by delivery when fractions arrive for a column that was found as `long` from the first records. The column gets a
new field id under its old name; older snapshots keep the old one with their own files.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, IntegerType, LongType, NestedField

from mulgil.storage import Store
from mulgil.table.commit import Staged, stage_replace
from mulgil.table.files import write_files
from mulgil.table.manifest import DataFile
from mulgil.table.metadata import Table, with_schema
from mulgil.table.read import batches
from mulgil.table.settings import TableSettings

EXACT_MAX = 2**53
"""Whole numbers beyond are not all doubles."""

ROWS = 1 << 20


def can_be_doubles(table: Table, columns: Collection[str], bytes_max: int) -> bool:
    """Whether the columns are top-level whole numbers, all of them exact as doubles, and the table is small enough."""
    files = table.files()
    if sum(file.size_bytes for file in files) > bytes_max:
        return False
    fields = {one.name: one for one in table.schema.fields}
    partitioned_by = {one.source_id for one in table.spec.fields}
    for name in columns:
        one = fields.get(name)
        if one is None or not isinstance(one.field_type, LongType | IntegerType) or one.field_id in partitioned_by:
            return False
        for file in files:
            known = table.statistics(file).get(name)
            if known is None or known.lower is None or known.upper is None:
                if known is not None and known.null_count == known.value_count:
                    continue
                return False
            if not -EXACT_MAX <= known.lower <= known.upper <= EXACT_MAX:
                return False
    return True


def stage_doubles(
    store: Store, table: Table, columns: Collection[str], *, settings: TableSettings, now_us: int
) -> Staged:
    """Write all files anew with these columns as doubles. Ask `can_be_doubles` first, and hold the table's lock."""
    last_id = table.metadata["last-column-id"]
    fields: list[NestedField] = []
    for one in table.schema.fields:
        if one.name in columns:
            last_id += 1
            fields.append(NestedField(last_id, one.name, DoubleType(), one.required, doc=one.doc))
        else:
            fields.append(one)
    schema_id = max(one["schema-id"] for one in table.metadata["schemas"]) + 1
    wide = with_schema(table, Schema(*fields, schema_id=schema_id), last_column_id=last_id)
    added: list[DataFile] = []
    for file in table.files():
        for rows in batches(store, table, file, ROWS):
            doubles = [
                rows.column(name).cast(pa.float64()) if name in columns else rows.column(name)
                for name in rows.column_names
            ]
            plain = pa.Table.from_arrays(doubles, names=rows.column_names)
            added += write_files(store, wide, plain, settings, now_us)
    removed = [file.path for file in table.files()]
    return stage_replace(store, wide, removed, added, settings=settings, now_us=now_us)
