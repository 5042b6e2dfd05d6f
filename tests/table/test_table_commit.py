"""Staging: what is written, what it says, what becomes garbage, who wins."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mulgil import table
from mulgil.errors import Broken, Conflict, Missing, Overloaded
from mulgil.storage import Data, LocalStore, MemoryStore, Store
from mulgil.table import TableSettings

SETTINGS = TableSettings(snapshots_max=6, snapshots_recent=4, previous_metadata_max=3)
ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "kind": ["a", "b", "a"]})


def append(store: Store, base: table.Table, rows: pa.Table = ROWS, now_us: int = 1_000_000) -> table.Staged:
    files = table.write_files(store, base, rows, SETTINGS, now_us)
    return table.stage_append(store, base, files, settings=SETTINGS, now_us=now_us)


def new(**more: object) -> table.Table:
    return table.new("bronze.web", "/lake/bronze/web", ROWS.schema, **more)  # type: ignore[arg-type]


def test_a_new_table_is_nothing_until_it_is_staged() -> None:
    store, fresh = MemoryStore(), new(partition=["kind"], comment="what clients sent", properties={"k": "v"})
    assert (fresh.metadata_location, fresh.before, fresh.snapshot_id, fresh.record_count) == (None, None, None, 0)
    assert fresh.files() == []
    staged = table.stage_append(store, fresh, [], settings=SETTINGS, now_us=5_000_000)
    assert (staged.kind, staged.before, staged.garbage) == ("metadata", None, ())
    loaded = table.load(store, "bronze.web", str(staged.table.metadata_location))
    assert loaded.files() == []
    assert loaded.properties == {"comment": "what clients sent", "k": "v"}
    assert (loaded.uuid, loaded.updated_us, loaded.schema) == (fresh.uuid, 5_000_000, fresh.schema)


def test_an_append_is_read_back_from_the_store_alone() -> None:
    store = MemoryStore()
    staged = append(store, new(partition=["kind"]))
    after = table.load(store, "bronze.web", str(staged.table.metadata_location))
    assert after.files() == staged.table.files()
    assert {file.partition: file.record_count for file in after.files()} == {("a",): 2, ("b",): 1}
    assert (after.record_count, after.file_count, after.sequence_number) == (3, 2, 1)
    assert after.size_bytes == sum(file.size_bytes for file in after.files())
    assert sorted(table.scan(store, after)["id"].to_pylist()) == [1, 2, 3]
    (snapshot,) = after.snapshots()
    assert (snapshot.operation, snapshot.summary["added-records"], snapshot.parent_id) == ("append", "3", None)
    assert after.metadata["refs"]["main"] == {"type": "branch", "snapshot-id": snapshot.id}


def test_everything_that_a_staged_table_names_is_in_the_store() -> None:
    store = MemoryStore()
    staged = append(store, append(store, new()).table)
    assert set(staged.written) <= set(store.list("/lake/"))
    assert {one.manifest_list for one in staged.table.snapshots()} <= set(store.list("/lake/"))
    assert staged.before in set(store.list("/lake/"))
    assert [one["metadata-file"] for one in staged.table.metadata["metadata-log"]] == [staged.before]


def test_manifests_stay_few_and_each_entry_is_rewritten_seldom() -> None:
    store, now = MemoryStore(), new()
    (file,) = table.write_files(store, now, ROWS, SETTINGS, 0)
    rewritten = 0
    for _ in range(600):
        now = table.stage_append(store, now, [file], settings=SETTINGS, now_us=0).table
        assert len(now.manifests()) <= 3 * SETTINGS.manifest_fan_in
        rewritten += now.manifests()[0].live
    assert sum(one.live for one in now.manifests()) == 600
    assert rewritten < 600 * 5
    assert now.record_count == 1800


def test_snapshots_and_former_metadata_go_and_are_named_as_garbage() -> None:
    store, now = MemoryStore(), new()
    garbage: list[table.Garbage] = []
    for at in range(40):
        staged = append(store, now, now_us=at * 60_000_000)
        now = staged.table
        garbage += staged.garbage
        assert len(now.snapshots()) <= SETTINGS.snapshots_max
    free = table.sweepable(garbage, now.retained_sequences)
    for one in free:
        assert store.exists(one.path)
        store.delete(one.path)
    for snapshot in now.snapshots():  # everything that can still be read is still there
        then = table.load(store, now.name, str(now.metadata_location)).at(snapshot.id)
        assert table.scan(store, then).num_rows == 3 * snapshot.sequence_number
    left = set(store.list("/lake/bronze/web/metadata/"))
    assert len(left) < len(now.snapshots()) * (SETTINGS.manifest_fan_in + 2) + SETTINGS.previous_metadata_max
    assert len([path for path in left if path.endswith(".metadata.json")]) == SETTINGS.previous_metadata_max + 1
    with pytest.raises(Missing):
        now.at(1)


def test_a_replace_exchanges_files_and_keeps_the_order_of_rows() -> None:
    store, now = MemoryStore(), new()
    for at in range(3):
        now = append(store, now, ROWS.slice(at, 1)).table
    first, second, third = now.files()
    added = table.write_files(store, now, ROWS.slice(0, 2), SETTINGS, 0)
    staged = table.stage_replace(store, now, [first.path, second.path], added, settings=SETTINGS, now_us=0)
    after = table.load(store, now.name, str(staged.table.metadata_location))
    assert [file.path for file in after.files()] == [added[0].path, third.path]
    assert table.scan(store, after)["id"].to_pylist() == [1, 2, 3]
    assert after.snapshots()[-1].summary["deleted-data-files"] == "2"
    assert (after.record_count, after.file_count) == (3, 2)
    gone = {one.path: (one.added_sequence, one.removed_sequence) for one in staged.garbage}
    assert gone[first.path] == (1, 4)
    assert gone[second.path] == (2, 4)
    with pytest.raises(Conflict, match="not in the table"):
        table.stage_replace(store, staged.table, [first.path], [], settings=SETTINGS, now_us=0)


def test_a_replace_of_everything_leaves_an_empty_table() -> None:
    store = MemoryStore()
    now = append(store, new()).table
    staged = table.stage_replace(
        store, now, [file.path for file in now.files()], [], settings=SETTINGS, now_us=0, operation="overwrite"
    )
    assert (staged.table.record_count, staged.table.files()) == (0, [])
    assert table.scan(store, append(store, staged.table).table).num_rows == 3


def test_properties_and_summary_are_kept_where_they_belong() -> None:
    store = MemoryStore()
    now = append(store, new(properties={"a": "1", "b": "1"})).table
    files = table.write_files(store, now, ROWS, SETTINGS, 0)
    staged = table.stage_append(
        store, now, files, settings=SETTINGS, now_us=0, summary={"source": "web"}, properties={"b": "2"}
    )
    after = append(store, staged.table).table
    assert after.properties == {"a": "1", "b": "2"}
    assert after.snapshots()[1].summary["source"] == "web"
    assert "source" not in after.snapshots()[2].summary


def test_anomaly_two_writers_give_one_id_to_two_columns() -> None:
    store = MemoryStore()
    now = append(store, new()).table
    mine = table.evolve(now, pa.schema({"x": pa.int64()})).table
    yours = table.evolve(now, pa.schema({"y": pa.string()})).table
    files = table.write_files(store, mine, pa.table({"x": [1]}), SETTINGS, 0)
    yours = append(store, yours, pa.table({"y": ["text"]})).table
    with pytest.raises(Conflict, match="'x'"):
        table.stage_append(store, yours, files, settings=SETTINGS, now_us=0)
    again = table.evolve(yours, pa.schema({"x": pa.int64()})).table
    with pytest.raises(Conflict):
        table.stage_append(store, again, files, settings=SETTINGS, now_us=0)
    both = append(store, again, pa.table({"x": [1]})).table
    assert table.scan(store, both).select(["x", "y"]).slice(3).to_pylist() == [
        {"x": None, "y": "text"},
        {"x": 1, "y": None},
    ]


def test_files_written_before_a_column_widened_still_fit() -> None:
    store = MemoryStore()
    now = append(
        store, table.new("a.b", "/lake/a/b", pa.schema({"n": pa.int32()})), pa.table({"n": pa.array([1], pa.int32())})
    ).table
    files = table.write_files(store, now, pa.table({"n": pa.array([2], pa.int32())}), SETTINGS, 0)
    wide = append(store, table.evolve(now, pa.schema({"n": pa.int64()})).table, pa.table({"n": [2**40]})).table
    after = table.stage_append(store, wide, files, settings=SETTINGS, now_us=0).table
    assert sorted(table.scan(store, after)["n"].to_pylist()) == [1, 2, 2**40]
    assert [after.statistics(file)["n"].upper for file in after.files()] == [1, 2**40, 2]
    narrow = table.write_files(store, wide, pa.table({"n": [2**41]}), SETTINGS, 0)
    with pytest.raises(Conflict):
        table.stage_append(store, now, narrow, settings=SETTINGS, now_us=0)


def test_schemas_are_kept_as_long_as_a_snapshot_has_them() -> None:
    store, now = MemoryStore(), new()
    for at in range(12):
        evolved = table.evolve(now, pa.schema({f"c{at}": pa.int64()})).table
        now = append(store, evolved, now_us=at * 1000).table
    assert len(now.metadata["schemas"]) <= SETTINGS.snapshots_max + 1
    former = now.snapshots()[0]
    assert len(now.at(former.id).schema.fields) < len(now.schema.fields)


def test_what_lost_is_handed_back_and_its_data_files_are_staged_again() -> None:
    store = MemoryStore()
    base = append(store, new()).table
    files = table.write_files(store, base, ROWS, SETTINGS, 0)
    lost = table.stage_append(store, base, files, settings=SETTINGS, now_us=0)
    won = append(store, base).table
    before = set(store.list("/lake/"))
    for path in table.abandoned(lost):
        store.delete(path)
    assert len(before) - len(set(store.list("/lake/"))) == 3
    again = table.stage_append(store, won, files, settings=SETTINGS, now_us=0).table
    assert table.scan(store, table.load(store, "x", str(again.metadata_location))).num_rows == 9


def test_a_clock_set_back_does_not_disorder_the_log() -> None:
    store = MemoryStore()
    now = append(store, new(), now_us=10**15).table
    now = append(store, now, now_us=10**14).table
    times = [one["timestamp-ms"] for one in now.metadata["snapshot-log"]]
    assert times == sorted(times)
    assert now.updated_us >= 10**15


class Full(MemoryStore):
    """A disk that is full for metadata."""

    def put_all(self, files: list[tuple[str, Data]]) -> None:  # type: ignore[override]
        raise Overloaded("no space left on device", where=files[0][0])


def test_a_full_disk_goes_up_as_it_is() -> None:
    with pytest.raises(Overloaded):
        append(Full(), new())


def test_foreign_and_damaged_metadata_is_broken(tmp_path: Path) -> None:
    store = LocalStore()
    good = append(store, table.new("a.b", f"{tmp_path}/t", ROWS.schema)).table
    text = json.loads(store.get(str(good.metadata_location)))
    for wrong in (b"{", b"[]", b"{}", json.dumps(text | {"format-version": 3}).encode()):
        store.put(f"{tmp_path}/wrong.json", wrong)
        with pytest.raises(Broken):
            table.load(store, "a.b", f"{tmp_path}/wrong.json")
    with pytest.raises(Missing):
        table.load(store, "a.b", f"{tmp_path}/none.json")
    manifest = good.manifests()[0].path
    for damaged in (b"", b"Obj\x01junk", store.get(manifest)[:-40]):
        store.put(manifest, damaged)
        with pytest.raises(Broken):
            table.load(store, "a.b", str(good.metadata_location)).files()
