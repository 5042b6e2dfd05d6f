"""After any course of appends, evolutions, compactions and expiries, readers that know nothing of Mulgil see the rows
that were written, in every snapshot that is kept, with and without filters, and sweeping takes nothing from them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mulgil import table
from mulgil.storage import LocalStore
from mulgil.table import TableSettings
from oracle import duckdb_oracle, pyiceberg_rows

SETTINGS = TableSettings(
    file_bytes_target=20_000, compact_fan_in=3, compact_settle_s=3600, snapshots_max=8, snapshots_recent=5,
    manifest_fan_in=3, previous_metadata_max=2, row_group_rows=40,
)  # fmt: skip
COLUMNS: list[tuple[str, list[pa.DataType]]] = [
    ("id", [pa.int64()]),
    ("at", [pa.timestamp("us", "UTC")]),
    ("kind", [pa.string()]),
    ("count", [pa.int32(), pa.int64()]),
    ("score", [pa.float32(), pa.float64()]),
    ("price", [pa.decimal128(9, 2), pa.decimal128(14, 2)]),
    ("user", [pa.struct({"id": pa.int64()}), pa.struct({"id": pa.int64(), "city": pa.string()})]),
    ("tags", [pa.list_(pa.string())]),
    ("day", [pa.date32()]),
    ("ok", [pa.bool_()]),
    ("payload", [pa.binary()]),
    ("local", [pa.timestamp("us")]),
]
PARTITIONS = [
    (),
    ("day(at)",),
    ("kind",),
    ("day(at)", "bucket(3, id)"),
    ("truncate(1, kind)",),
    ("month(day)", "count"),
]


class Course:
    """A table's life by a seed, with a plain list of what it must hold."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.store = LocalStore()
        self.now_us = 1_764_000_000_000_000
        self.known = 3
        partition = self.chance.choice([one for one in PARTITIONS if "count" not in one])
        schema = pa.schema([(name, types[0]) for name, types in COLUMNS[: self.known]])
        self.table = table.new("bronze.web", f"{folder}/lake of all/bronze/web", schema, partition=partition)
        self.rows: list[dict[str, Any]] = []
        self.then: dict[int, int] = {}
        """Rows by snapshot."""
        self.garbage: list[table.Garbage] = []
        self.take(table.stage_append(self.store, self.table, [], settings=SETTINGS, now_us=self.now_us))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.now_us += self.chance.choice([5, 60, 1800]) * 1_000_000
            self.chance.choices([self.append, self.compact, self.sweep, self.reload], [10, 4, 2, 1])[0]()

    def append(self) -> None:
        self.known = min(len(COLUMNS), self.known + self.chance.choice([0, 0, 1]))
        columns = [("id", pa.int64())] + [
            (name, self.chance.choice(types)) for name, types in COLUMNS[1 : self.known] if self.chance.random() < 0.8
        ]
        self.chance.shuffle(columns)
        count = self.chance.choice([1, 5, 60])
        made = {name: pa.array([self._value(name, kind) for _ in range(count)], kind) for name, kind in columns}
        made["id"] = pa.array(range(len(self.rows), len(self.rows) + count), pa.int64())
        rows = pa.table(made)
        evolution = table.evolve(self.table, rows.schema)
        assert not evolution.conflicts
        files = table.write_files(self.store, evolution.table, rows, SETTINGS, self.now_us)
        self.take(
            table.stage_append(self.store, evolution.table, files, settings=SETTINGS, now_us=self.now_us),
            rows.to_pylist(),
        )

    def compact(self) -> None:
        for plan in table.plan_compaction(self.table, SETTINGS, self.now_us):
            added = table.rewrite(self.store, self.table, plan, SETTINGS)
            removed = [file.path for file in plan.files]
            self.take(
                table.stage_replace(self.store, self.table, removed, added, settings=SETTINGS, now_us=self.now_us)
            )

    def sweep(self) -> None:
        for one in table.sweepable(self.garbage, self.table.retained_sequences):
            self.store.delete(one.path)
            self.garbage.remove(one)

    def reload(self) -> None:
        self.table = table.load(self.store, self.table.name, str(self.table.metadata_location))

    def take(self, staged: table.Staged, rows: list[dict[str, Any]] | None = None) -> None:
        self.table = staged.table
        self.rows += rows or []
        self.garbage += staged.garbage
        if self.table.snapshot_id is not None:
            self.then[self.table.snapshot_id] = len(self.rows)

    def _value(self, name: str, kind: pa.DataType) -> Any:
        chance = self.chance
        if chance.random() < 0.15:
            return None
        moment = datetime(2025, 11, 24, tzinfo=UTC) + timedelta(seconds=chance.randrange(-200_000, 200_000))
        if chance.random() < 0.05:
            moment = datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=UTC)
        values = {
            "at": moment, "kind": chance.choice(["view", "search", "물길/ 100%", "", "x" * 40]),
            "count": chance.randrange(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1))
            if pa.types.is_integer(kind) else 0,
            "score": chance.choice([0.5, -1.25, float("inf")]),
            "price": Decimal(chance.randrange(-10**8, 10**8)).scaleb(-2),
            "tags": chance.choice([[], ["a", None], ["b"]]), "day": moment.date(), "ok": chance.random() < 0.5,
            "payload": chance.randbytes(20), "local": moment.replace(tzinfo=None), "id": 0,
        }  # fmt: skip
        if name == "user":
            return {field.name: 7 if field.name == "id" else "서울" for field in kind}
        return values[name]


def expected(course: Course, schema: pa.Schema, count: int) -> list[dict[str, Any]]:
    """The first rows, every column of the table filled in."""

    def filled(value: Any, kind: pa.DataType) -> Any:
        if pa.types.is_struct(kind) and value is not None:
            return {field.name: filled(value.get(field.name), field.type) for field in kind}
        return value

    rows = course.rows[:count]
    return [{field.name: filled(row.get(field.name), field.type) for field in schema} for row in rows]


FEW_THEN_MANY = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))]


@pytest.mark.parametrize("seed", FEW_THEN_MANY)
def test_pyiceberg_reads_the_same_rows(seed: int, tmp_path: Path) -> None:
    course = Course(seed, tmp_path)
    course.run(40 if seed < 4 else 100)
    course.sweep()
    location = str(course.table.metadata_location)
    got = pyiceberg_rows(location).sort_by("id").to_pylist()
    assert got == expected(course, course.table.arrow_schema, len(course.rows))
    assert course.table.record_count == len(got)
    assert table.load(course.store, "bronze.web", location).files() == course.table.files()
    assert sum(file.record_count for file in course.table.files()) == len(got)
    for snapshot in course.table.snapshots()[:: 1 if seed >= 4 else 3]:
        assert pyiceberg_rows(location, snapshot_id=snapshot.id).num_rows == course.then[snapshot.id]
    mine = table.scan(course.store, table.load(course.store, "a.b", location)).sort_by("id").to_pylist()
    assert mine == got


@pytest.mark.parametrize("seed", range(40, 42))
def test_filters_lose_no_row_to_bounds_or_partitions(seed: int, tmp_path: Path) -> None:
    course = Course(seed, tmp_path)
    course.run(20)
    location = str(course.table.metadata_location)
    rows = pyiceberg_rows(location)
    filters = {
        "kind = 'x' or kind = '물길/ 100%'": pc.equal(rows["kind"], "물길/ 100%"),
        "kind is null": pc.is_null(rows["kind"]),
        "at < '1970-01-01T00:00:00+00:00'": pc.less(rows["at"], pa.scalar(datetime(1970, 1, 1, tzinfo=UTC))),
        "at >= '2025-11-24T00:00:00+00:00'": pc.greater_equal(
            rows["at"], pa.scalar(datetime(2025, 11, 24, tzinfo=UTC))
        ),
        f"id = {len(course.rows) // 2}": pc.equal(rows["id"], len(course.rows) // 2),
    }
    for text, mask in filters.items():
        assert pyiceberg_rows(location, row_filter=text).num_rows == pc.sum(pc.cast(mask, pa.int64())).as_py() or 0, (
            text
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(42, 48))
def test_duckdb_reads_the_same_rows(seed: int, tmp_path: Path) -> None:
    course = Course(seed, tmp_path)
    course.run(60)
    course.sweep()
    location = course.table.metadata_location
    scan = f"iceberg_scan('{location}')"
    scalars = [field for field in course.table.arrow_schema if field.name in ("id", "kind", "count", "ok", "tags")]
    names = ", ".join(f'"{field.name}"' for field in scalars)
    rows = expected(course, pa.schema(scalars), len(course.rows))
    assert duckdb_oracle(f"SELECT {names} FROM {scan} ORDER BY id") == [tuple(row.values()) for row in rows]
    times = [row.get("at") for row in course.rows]
    early = sum(1 for one in times if one is not None and one < datetime(1970, 1, 1, tzinfo=UTC))
    before = "\"at\" < '1970-01-01 00:00:00+00'"
    counts = duckdb_oracle(
        f'SELECT count(*) AS a, count("at") AS b, count(*) FILTER ({before}) AS c,'
        f" (SELECT count(*) FROM {scan} WHERE {before}) AS d,"
        f" (SELECT count(*) FROM {scan} WHERE kind = 'view') AS e FROM {scan}"
    )
    views = sum(1 for row in course.rows if row.get("kind") == "view")
    assert counts == [(len(times), sum(one is not None for one in times), early, early, views)]
    for snapshot in course.table.snapshots():
        then = duckdb_oracle(
            f"SELECT count(*) FROM iceberg_scan('{location}', snapshot_from_id = {snapshot.id}::UBIGINT)"
        )
        assert then == [(course.then[snapshot.id],)]


@pytest.mark.slow
def test_duckdb_reads_a_table_that_nothing_was_written_to(tmp_path: Path) -> None:
    course = Course(0, tmp_path)
    assert pyiceberg_rows(str(course.table.metadata_location)).num_rows == 0
    assert duckdb_oracle(f"SELECT count(*) FROM iceberg_scan('{course.table.metadata_location}')") == [(0,)]
