"""A table's rows as Arrow: for compaction, and for small tables of our own. Queries go through the SQL engine."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mulgil.errors import Broken
from mulgil.storage import Store
from mulgil.table.conform import conform
from mulgil.table.manifest import LiveFile
from mulgil.table.metadata import Table
from mulgil.table.schema import FIELD_ID

_WHOLE_BYTES_MAX = 4 << 20
"""Files up to this size are fetched at once; of larger ones only what is decoded next is held."""


def scan(store: Store, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of the current snapshot, oldest files first, in the table's schema; `columns`: only these."""
    schema = table.arrow_schema if columns is None else pa.schema([table.arrow_schema.field(name) for name in columns])
    parts = [pa.Table.from_batches([], schema)]
    for file in table.files():
        parts += [part.select(schema.names) for part in batches(store, table, file, 1 << 20)]
    return pa.concat_tables(parts)


def batches(store: Store, table: Table, file: LiveFile, rows: int) -> Iterator[pa.Table]:
    """A file's rows in order, in pieces of at most `rows`, each in the table's current schema.

    Columns are found by field id: one that was added later is null, one that was dropped is left out.
    """
    source: pa.NativeFile = (
        pa.BufferReader(store.get(file.path))
        if file.size_bytes <= _WHOLE_BYTES_MAX
        else pa.PythonFile(_Ranges(store, file.path, file.size_bytes), "r")
    )
    try:
        with pq.ParquetFile(source) as parquet:
            names = {_id(field): field.name for field in table.arrow_schema}
            have = {field.name: names[_id(field)] for field in parquet.schema_arrow if _id(field) in names}
            for batch in parquet.iter_batches(batch_size=rows, columns=list(have), use_threads=False):
                piece = pa.Table.from_batches([batch]).rename_columns([have[name] for name in batch.schema.names])
                yield conform(piece, table.arrow_schema, where=file.path)
    except (pa.ArrowException, OSError) as error:
        raise Broken(f"this data file cannot be read: {error}", where=file.path) from error


def _id(field: pa.Field) -> bytes | None:
    return (field.metadata or {}).get(FIELD_ID)


class _Ranges(io.RawIOBase):
    """A stored file that fetches what is asked for."""

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size, self._at = store, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        length = self._size - self._at if size < 0 else size
        data = self._store.read_range(self._path, self._at, length)
        self._at += len(data)
        return data
