from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from mulgil import table
from mulgil.catalog import Care, Catalog, checked_name
from mulgil.clock import TurnedClock
from mulgil.errors import Conflict, Invalid, Missing, Retry
from mulgil.state import Database, Epoch, Fenced, Transaction
from mulgil.storage import LocalStore
from oracle import pyiceberg_rows

SETTINGS = table.TableSettings()


class Kept:
    """A catalog with its state, and what the tests do to its tables."""

    def __init__(self, folder: Path, settings: table.TableSettings = SETTINGS) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = TurnedClock()
        self.database = Database(folder / "state.db")
        self.catalog = Catalog(self.database, LocalStore(), str(folder / "lake"))
        self.catalog.declare()

    def stage(self, name: str, numbers: Sequence[int], base: table.Table | None = None) -> table.Staged:
        rows = pa.table({"n": pa.array(numbers, pa.int64())})
        found = base or self.catalog.find(name)
        found = found or table.new(name, self.catalog.location(name), rows.schema)
        now_us = self.clock.now_us()
        files = table.write_files(self.catalog.store, found, rows, self.settings, now_us)
        return table.stage_append(self.catalog.store, found, files, settings=self.settings, now_us=now_us)

    def swap(self, *staged: table.Staged) -> None:
        with self.database.transaction() as transaction:
            for one in staged:
                self.catalog.swap(transaction, one, self.clock.now_us())

    def append(self, name: str, numbers: Sequence[int]) -> None:
        with self.catalog.lock(name):
            staged = self.stage(name, numbers)
            self.swap(staged)
            self.catalog.adopt([staged])

    def numbers(self, name: str) -> list[int]:
        rows = table.scan(LocalStore(), self.catalog.load(name))
        return sorted(rows["n"].to_pylist())

    def files(self, kind: str = "*") -> set[str]:
        return {str(path) for path in (self.folder / "lake").rglob(kind) if path.is_file()}

    def care(self, grace_s: float = 0.0, fence: object = None) -> Care:
        return Care(
            self.catalog,
            self.database,
            self.settings,
            self.clock,
            grace_s=grace_s,
            fence=fence,  # type: ignore[arg-type]
        )


@pytest.fixture
def kept(folder: Path) -> Iterator[Kept]:
    made = Kept(folder)
    yield made
    made.database.close()


def test_tables_of_another_lake_are_noticed_and_a_link_to_the_same_is_not(kept: Kept, tmp_path: Path) -> None:
    assert kept.catalog.elsewhere() is None
    kept.append("bronze.web", [1])
    assert kept.catalog.elsewhere() is None
    (tmp_path / "link").symlink_to(kept.folder / "lake")
    assert Catalog(kept.database, LocalStore(), str(tmp_path / "link")).elsewhere() is None
    copied = Catalog(kept.database, LocalStore(), str(tmp_path / "copy" / "lake"))
    assert copied.elsewhere() == ("bronze.web", str(kept.folder / "lake"))


def test_pyiceberg_lists_loads_and_scans_the_tables(kept: Kept) -> None:
    kept.append("bronze.web", [1, 2])
    kept.append("bronze.web", [3])
    kept.append("silver.users", [7])
    other = SqlCatalog("mulgil", uri=f"sqlite:///{kept.database.path}", init_catalog_tables="false")
    try:
        assert sorted(other.list_namespaces()) == [("bronze",), ("silver",)]
        assert other.list_tables("bronze") == [("bronze", "web")]
        assert sorted(other.load_table("bronze.web").scan().to_arrow()["n"].to_pylist()) == [1, 2, 3]
    finally:
        other.engine.dispose()
    assert pyiceberg_rows(kept.database.path, "silver.users")["n"].to_pylist() == [7]
    assert kept.catalog.names() == ["bronze.web", "silver.users"]


def test_a_table_that_is_not_there_is_missing(kept: Kept) -> None:
    assert kept.catalog.find("bronze.web") is None
    assert kept.catalog.find("web") is None
    assert kept.catalog.load_all(["bronze.web", "a.b"]) == {}
    with pytest.raises(Missing, match=r"bronze\.web"):
        kept.catalog.load("bronze.web")


@pytest.mark.parametrize(
    "name", ["web", "Bronze.web", "bronze.web.more", "bronze.", ".web", "bronze.web\n", "a.1b", ""]
)
def test_names_that_sql_would_have_to_quote_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not a table name"):
        checked_name(name)


def test_of_two_changes_of_one_table_the_second_to_come_loses(kept: Kept) -> None:
    kept.append("bronze.web", [1])
    first, second = kept.stage("bronze.web", [2]), kept.stage("bronze.web", [3])
    kept.swap(first)
    with pytest.raises(Conflict, match=r"bronze\.web"):
        kept.swap(second)
    assert kept.numbers("bronze.web") == [1, 2]
    assert kept.catalog.landed([first])
    assert not kept.catalog.landed([second])


def test_of_two_that_create_a_table_the_second_loses(kept: Kept) -> None:
    first, second = kept.stage("bronze.web", [1]), kept.stage("bronze.web", [2])
    kept.swap(first)
    with pytest.raises(Conflict):
        kept.swap(second)
    assert kept.numbers("bronze.web") == [1]


def test_a_change_of_two_tables_happens_in_both_or_in_none(kept: Kept) -> None:
    kept.append("bronze.web", [1])
    stale, fresh = kept.stage("bronze.web", [2]), kept.stage("bronze.app", [3])
    kept.append("bronze.web", [4])
    with pytest.raises(Conflict):
        kept.swap(fresh, stale)
    assert kept.catalog.names() == ["bronze.web"]
    assert kept.numbers("bronze.web") == [1, 4]


def test_a_change_has_landed_also_when_others_came_after_it(kept: Kept) -> None:
    staged = kept.stage("bronze.web", [1])
    assert not kept.catalog.landed([staged])
    kept.swap(staged)
    for number in range(3):
        kept.append("bronze.web", [number])
    assert kept.catalog.landed([staged])


def test_all_tables_are_loaded_as_they_were_together(kept: Kept) -> None:
    """A writer changes two tables in one transaction; whoever loads both finds them at one count."""
    names = ["bronze.left", "bronze.right"]
    for name in names:
        kept.append(name, [0])
    stop = threading.Event()

    def write() -> None:
        for number in range(1, 25):
            staged = [kept.stage(name, [number]) for name in names]
            kept.swap(*staged)
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    counts = set()
    while not stop.is_set():
        found = kept.catalog.load_all(names)
        counts.add(tuple(found[name].record_count for name in names))
    thread.join()
    assert all(left == right for left, right in counts)
    assert len(counts) > 1


def test_the_sweep_deletes_what_no_snapshot_sees_and_only_after_the_grace(folder: Path) -> None:
    kept = Kept(folder, table.TableSettings(snapshots_max=3, snapshots_recent=3, previous_metadata_max=2))
    for number in range(6):
        kept.append("bronze.web", [number])
        kept.clock.turn(1)
    before = kept.files()
    now_us = kept.clock.now_us()
    assert kept.catalog.sweep("bronze.web", now_us - 3_600_000_000) == 0
    assert kept.files() == before
    deleted = kept.catalog.sweep("bronze.web", now_us)
    assert deleted == len(before) - len(kept.files()) > 0
    assert kept.catalog.sweep("bronze.web", now_us) == 0
    assert kept.numbers("bronze.web") == [0, 1, 2, 3, 4, 5]
    for snapshot in kept.catalog.load("bronze.web").snapshots():
        rows = pyiceberg_rows(kept.database.path, "bronze.web", snapshot_id=snapshot.id)
        assert rows.num_rows == snapshot.sequence_number
    kept.database.close()


SMALL = table.TableSettings(compact_fan_in=4, snapshots_max=4, snapshots_recent=4, previous_metadata_max=2)


def test_care_while_appends_happen_loses_nothing(folder: Path) -> None:
    kept = Kept(folder, SMALL)
    kept.append("bronze.web", [-1])
    done = threading.Event()

    def append(first: int) -> None:
        for number in range(first, first + 30):
            kept.append("bronze.web", [number])

    def look_after() -> None:
        care = kept.care()
        while not done.is_set() or care.step("bronze.web") is not None:
            care.step("bronze.web")

    with ThreadPoolExecutor() as pool:
        nurse = pool.submit(look_after)
        try:
            list(pool.map(append, (0, 1000)))
        finally:
            done.set()
        nurse.result(timeout=60)
    assert kept.numbers("bronze.web") == [-1, *range(30), *range(1000, 1030)]
    assert pyiceberg_rows(kept.database.path, "bronze.web").num_rows == 61
    assert len(list(kept.catalog.load("bronze.web").files())) < 20
    live = {file.path for file in kept.catalog.load("bronze.web").files()}
    with kept.database.read() as read:
        garbage = {path for (path,) in read.execute("SELECT path FROM table_garbage")}
    assert kept.files("*.parquet") <= live | garbage, "compaction that lost its race leaves nothing behind"
    kept.database.close()


def test_a_fenced_care_stops_and_leaves_nothing_behind(folder: Path) -> None:
    kept = Kept(folder, SMALL)
    for number in range(4):
        kept.append("bronze.web", [number])
    epoch = Epoch.take(kept.database, "delivery")
    Epoch.take(kept.database, "delivery")
    before = kept.files()
    with pytest.raises(Fenced):
        kept.care(fence=epoch.check).step("bronze.web")
    assert kept.files() == before
    assert kept.numbers("bronze.web") == [0, 1, 2, 3]
    kept.database.close()


def test_a_care_that_cannot_commit_leaves_nothing_behind(folder: Path) -> None:
    kept = Kept(folder, SMALL)
    for number in range(4):
        kept.append("bronze.web", [number])
    before = kept.files()

    def refuse(transaction: Transaction) -> None:
        raise Retry("the disk is full")

    with pytest.raises(Retry):
        kept.care(fence=refuse).step("bronze.web")
    assert kept.files() == before
    report = kept.care().step("bronze.web")
    assert report is not None
    assert (report.files_before, report.files_after) == (4, 1)
    assert kept.care().step("bronze.nothing") is None
    kept.database.close()


def test_a_table_that_moves_while_it_is_compacted_is_left_for_the_next_step(folder: Path) -> None:
    kept = Kept(folder, SMALL)
    for number in range(4):
        kept.append("bronze.web", [number])
    rival = Kept(folder, SMALL)

    def be_overtaken(transaction: Transaction) -> None:
        raise Conflict("somebody else was first")

    assert kept.care(fence=be_overtaken).step("bronze.web") is None
    assert rival.care().step("bronze.web") is not None
    assert kept.numbers("bronze.web") == [0, 1, 2, 3]
    kept.database.close()
    rival.database.close()
