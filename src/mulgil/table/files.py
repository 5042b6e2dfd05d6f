"""Rows become data files, safe on the disk, that no snapshot has yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.types import DoubleType, FloatType

from mulgil.errors import MulgilError
from mulgil.ids import new_uuid
from mulgil.storage import Store
from mulgil.table.conform import conform
from mulgil.table.encoding import dictionary_columns
from mulgil.table.layout import Layout
from mulgil.table.manifest import DataFile
from mulgil.table.metadata import Table
from mulgil.table.partition import path_of, split
from mulgil.table.settings import TableSettings
from mulgil.table.statistics import describe

_EXPANSION = 4
"""Arrow's bytes of a file's rows are some times its Parquet bytes; only to cut large batches."""


def write_files(store: Store, table: Table, rows: pa.Table, settings: TableSettings, now_us: int) -> list[DataFile]:
    """Write rows for `stage_append`: one file per partition, several where one would be far over the target size.

    Columns may come in any order and in narrower types; those that the rows lack become null. Everything is durable on
    return. Raises `Invalid` when rows do not fit the table (`evolve` it first), `Overloaded` or `Retry` by the store.
    """
    layout = table.layout
    fitting = conform(rows, layout.arrow, where=table.name)
    made: list[tuple[DataFile, pa.Buffer]] = []
    for partition, part in split(fitting, layout.spec, layout.schema):
        for piece in _pieces(part, settings):
            path = data_path(table, partition, now_us)
            sink, footers = pa.BufferOutputStream(), list[pq.FileMetaData]()
            pq.write_table(
                piece, sink, row_group_size=settings.row_group_rows, metadata_collector=footers,
                compression="zstd", compression_level=settings.compression_level_hot, store_schema=False,
                use_dictionary=dictionary_columns(piece),
            )  # fmt: skip
            data = sink.getvalue()
            made.append((describe(layout, path, partition, footers[0], data.size, nan_counts(layout, piece)), data))
    try:
        store.put_all([(file.path, memoryview(data)) for file, data in made])
    except BaseException:
        for file, _ in made:  # some may be there
            with suppress(MulgilError):
                store.delete(file.path)
        raise
    return [file for file, _ in made]


def data_path(table: Table, partition: Sequence[Any], now_us: int) -> str:
    """A new name in the partition's folder; names sort by the time of writing."""
    written = np.datetime64(now_us, "us").astype("M8[s]").item()
    folder = path_of(table.spec, table.schema, partition)
    name = f"{written:%Y%m%dT%H%M%S}-{new_uuid()}.parquet"
    return "/".join(part for part in (table.location, "data", folder, name) if part)


def nan_counts(layout: Layout, rows: pa.Table) -> dict[int, int]:
    """How many NaN each column of floating numbers has; columns inside structs are not counted."""
    found = {}
    for field in layout.schema.fields:
        if isinstance(field.field_type, FloatType | DoubleType):
            found[field.field_id] = int(pc.sum(pc.is_nan(rows.column(field.name))).as_py() or 0)
    return found


def _pieces(part: pa.Table, settings: TableSettings) -> Iterator[pa.Table]:
    pieces = max(1, round(part.nbytes / (settings.file_bytes_target * _EXPANSION)))
    length = -(-part.num_rows // pieces)
    return (part.slice(start, length) for start in range(0, part.num_rows, length))
