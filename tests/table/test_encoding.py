"""Dictionaries where values repeat, and only there."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from mulgil import table
from mulgil.storage import MemoryStore
from mulgil.table import TableSettings
from mulgil.table.encoding import dictionary_columns

ROWS = pa.table(
    {
        "id": [f"id-{n:09d}" for n in range(5000)],
        "kind": [f"kind-{n % 7}" for n in range(5000)],
        "flag": [n % 2 == 0 for n in range(5000)],
        "about": [{"rank": n % 3, "tags": [f"t{n % 5}"]} for n in range(5000)],
    }
)


def test_only_columns_with_repeated_values_have_one() -> None:
    assert dictionary_columns(ROWS) == ["kind", "about.rank", "about.tags.list.element"]


def test_parquet_takes_the_paths_as_they_are_meant() -> None:
    store = MemoryStore()
    made = table.new("a.b", "/lake/a/b", ROWS.schema)
    (file,) = table.write_files(store, made, ROWS, TableSettings(), 0)
    with pq.ParquetFile(pa.BufferReader(store.get(file.path))) as parquet:
        columns = [parquet.metadata.row_group(0).column(at) for at in range(parquet.metadata.num_columns)]
    encoded = {one.path_in_schema: "RLE_DICTIONARY" in one.encodings for one in columns}
    assert encoded == {
        "id": False, "kind": True, "flag": False, "about.rank": True, "about.tags.list.element": True,
    }  # fmt: skip


def test_an_empty_table_is_no_problem() -> None:
    assert "kind" in dictionary_columns(ROWS.slice(0, 0))
