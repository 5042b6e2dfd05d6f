"""Compaction: what is chosen, and that rows and their order stay."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulgil import table
from mulgil.errors import Overloaded
from mulgil.storage import LocalStore, MemoryStore
from mulgil.table import TableSettings
from mulgil.table.compact import _depth

SETTINGS = TableSettings(file_bytes_target=1 << 20, compact_settle_s=60, row_group_rows=1000)
ROWS = pa.table({"n": pa.array(range(50), pa.int64()), "kind": ["a"] * 50})


def append(store: MemoryStore, base: table.Table, rows: pa.Table, now_us: int = 0) -> table.Table:
    files = table.write_files(store, base, rows, SETTINGS, now_us)
    return table.stage_append(store, base, files, settings=SETTINGS, now_us=now_us).table


def compact(store: MemoryStore, now: table.Table, now_us: int = 0) -> table.Table:
    while plans := table.plan_compaction(now, SETTINGS, now_us):
        added = table.rewrite(store, now, plans[0], SETTINGS)
        removed = [file.path for file in plans[0].files]
        now = table.stage_replace(store, now, removed, added, settings=SETTINGS, now_us=now_us).table
    return now


def test_depths_count_the_merges_to_a_full_file() -> None:
    assert [_depth(size, 512, 8) for size in (600, 511, 64, 63, 8, 7, 1, 0)] == [0, 0, 0, 1, 1, 2, 2, 2]


def test_few_files_are_left_alone_until_their_partition_is_quiet() -> None:
    store = MemoryStore()
    now = table.new("a.b", "/lake/a/b", ROWS.schema)
    for at in range(7):
        now = append(store, now, ROWS.slice(at, 1), at * 1_000_000)
    assert table.plan_compaction(now, SETTINGS, 60_000_000) == []
    (plan,) = table.plan_compaction(now, SETTINGS, 66_000_000)
    assert len(plan.files) == 7
    assert table.plan_compaction(compact(store, now, 66_000_000), SETTINGS, 10**12) == []


def test_partitions_are_compacted_apart_and_the_quickest_first() -> None:
    store = MemoryStore()
    rows = pa.table({"n": pa.array(range(5000), pa.int64()), "kind": ["a"] * 10 + ["b"] * 4990})
    now = table.new("a.b", "/lake/a/b", rows.schema, partition=["kind"])
    for _ in range(8):
        now = append(store, now, rows)
    plans = table.plan_compaction(now, SETTINGS, 0)
    assert [plan.partition for plan in plans] == [("a",), ("b",)]
    after = compact(store, now)
    assert {file.partition: file.record_count for file in after.files()} == {("a",): 80, ("b",): 39_920}
    assert "/kind=b/" in after.files()[1].path


def test_rows_keep_their_order_through_all_sizes() -> None:
    store = MemoryStore()
    now = table.new("a.b", "/lake/a/b", ROWS.schema)
    expected = []
    for at in range(200):
        piece = pa.table({"n": pa.array(range(at * 10, at * 10 + 10), pa.int64()), "kind": [str(at)] * 10})
        now = compact(store, append(store, now, piece))
        expected += piece["n"].to_pylist()
        assert len(now.files()) < 30
    assert table.scan(store, now)["n"].to_pylist() == expected
    done = compact(store, now, 10**12)
    assert len(done.files()) == 1
    assert table.scan(store, table.load(store, "a.b", str(done.metadata_location)))["n"].to_pylist() == expected


def test_full_files_are_never_touched_again() -> None:
    store = MemoryStore()
    settings = TableSettings(file_bytes_target=8_000, compact_settle_s=0, row_group_rows=1000)
    now = table.new("a.b", "/lake/a/b", pa.schema({"n": pa.float64()}))
    import random

    chance = random.Random(7)
    for _ in range(40):
        rows = pa.table({"n": [chance.random() for _ in range(100)]})
        files = table.write_files(store, now, rows, settings, 0)
        now = table.stage_append(store, now, files, settings=settings, now_us=0).table
    for _ in range(100):
        plans = table.plan_compaction(now, settings, 10**12)
        if not plans:
            break
        assert all(file.size_bytes < 4_000 for file in plans[0].files)
        added = table.rewrite(store, now, plans[0], settings)
        assert len(added) == 1
        now = table.stage_replace(
            store, now, [file.path for file in plans[0].files], added, settings=settings, now_us=0
        ).table
    else:
        raise AssertionError("compaction does not come to an end")
    assert sum(file.size_bytes < 4_000 for file in now.files()) <= 1
    assert max(file.size_bytes for file in now.files()) < 8_000 * 1.4
    assert now.record_count == 4000


def test_an_append_meanwhile_loses_nothing() -> None:
    store = MemoryStore()
    now = table.new("a.b", "/lake/a/b", ROWS.schema)
    for _ in range(8):
        now = append(store, now, ROWS)
    (plan,) = table.plan_compaction(now, SETTINGS, 0)
    added = table.rewrite(store, now, plan, SETTINGS)
    newest = append(store, now, ROWS)
    staged = table.stage_replace(store, newest, [file.path for file in plan.files], added, settings=SETTINGS, now_us=0)
    assert (staged.table.record_count, staged.table.file_count) == (450, 2)
    assert table.scan(store, staged.table).num_rows == 450


def test_old_files_take_the_tables_present_schema() -> None:
    store = MemoryStore()
    now = append(
        store, table.new("a.b", "/lake/a/b", pa.schema({"n": pa.int32()})), pa.table({"n": pa.array([1], pa.int32())})
    )
    now = table.evolve(now, pa.schema({"n": pa.int64(), "more": pa.string()})).table
    now = append(store, now, pa.table({"n": [2**40], "more": ["x"]}))
    after = compact(store, now, 10**12)
    (file,) = after.files()
    assert table.scan(store, after).to_pylist() == [{"n": 1, "more": None}, {"n": 2**40, "more": "x"}]
    written = pq.read_schema(pa.BufferReader(store.get(file.path)))
    assert written.equals(after.arrow_schema, check_metadata=False)
    assert [written.field(name).metadata for name in written.names] == [
        after.arrow_schema.field(name).metadata for name in written.names
    ]


def test_rows_are_sorted_where_it_is_asked_for() -> None:
    store = MemoryStore()
    now = table.new("a.b", "/lake/a/b", ROWS.schema)
    for at in (3, 1, 2):
        now = append(store, now, ROWS.slice(at, 1))
    (plan,) = table.plan_compaction(now, SETTINGS, 10**12)
    added = table.rewrite(store, now, plan, SETTINGS, sort=["n"])
    removed = [file.path for file in plan.files]
    after = table.stage_replace(store, now, removed, added, settings=SETTINGS, now_us=0).table
    assert table.scan(store, after)["n"].to_pylist() == [1, 2, 3]


def test_a_rewrite_that_fails_leaves_no_files() -> None:
    class Full(MemoryStore):
        def put(self, path: str, data: object) -> None:
            if len(self._files) >= most:
                raise Overloaded("no space left on device", where=path)
            super().put(path, data)  # type: ignore[arg-type]

    store, most = Full(), 1000
    now = table.new("a.b", "/lake/a/b", ROWS.schema)
    for _ in range(8):
        now = append(store, now, ROWS)
    (plan,) = table.plan_compaction(now, SETTINGS, 0)
    before = set(store.list("/"))
    most = len(before)
    with pytest.raises(Overloaded):
        table.rewrite(store, now, plan, SETTINGS)
    assert set(store.list("/")) == before


def test_a_disk_that_fills_up_in_the_middle_of_a_rewrite_is_named(tmp_path: Path) -> None:
    class Filling(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    class Full(LocalStore):
        @contextmanager
        def open_write(self, path: str) -> Iterator[IO[bytes]]:
            with super().open_write(path):
                yield Filling()

    store = Full()
    now = table.new("a.b", str(tmp_path / "lake" / "a" / "b"), ROWS.schema)
    for _ in range(8):
        files = table.write_files(store, now, ROWS, SETTINGS, 0)
        now = table.stage_append(store, now, files, settings=SETTINGS, now_us=0).table
    (plan,) = table.plan_compaction(now, SETTINGS, 0)
    with pytest.raises(Overloaded, match="no space"):
        table.rewrite(store, now, plan, SETTINGS)
