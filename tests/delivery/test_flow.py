from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_line import FailingDatabase, SmallLine, event

from mulgil.delivery import Target, keys, positions
from mulgil.errors import Broken, MulgilError, Retry
from mulgil.record import Block, Lag, Mark
from mulgil.schema import Format
from mulgil.sources import StreamSource
from mulgil.state import Database, Epoch, Fenced
from mulgil.stream import MemoryStream, StreamSettings
from oracle import pyiceberg_rows


def balanced(line: SmallLine) -> bool:
    return not line.differences() and not line.strays()


# Where rows land


def test_events_become_rows_with_source_position_and_time_of_arrival(line: SmallLine) -> None:
    line.post(event(1), event(2))
    line.clock.turn(60)
    line.post(event(3))
    line.deliver()
    rows = line.rows().sort_by("n").to_pylist()
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert {row["_source"] for row in rows} == {"web"}
    assert [positions.read_position(row["_position"]) for row in rows] == [(0, 0), (0, 1), (0, 2)]
    assert (rows[2]["_ingested_at"] - rows[0]["_ingested_at"]).total_seconds() == 60
    assert pyiceberg_rows(line.database.path, "bronze.web").num_rows == 3
    assert line.booked().rows_out == 3
    assert balanced(line)


def test_blank_lines_and_white_space_in_records_shift_nothing(line: SmallLine) -> None:
    line.post(b'{"n":1,\r"a":[1,\r2]}', b'\t{"n":2}  \r', b'{"n":3}\r\n\n\r\n')
    line.post(b'{"n":4}')
    line.deliver()
    assert {row["n"]: row["_position"] for row in line.rows().to_pylist()} == {1: 0, 2: 1, 3: 2, 4: 3}
    assert balanced(line)


def test_the_first_batch_makes_the_table_and_finds_its_time(line: SmallLine) -> None:
    line.post(event(1, ts="2020-01-01T00:00:00Z"))
    line.deliver()
    made = line.catalog.load("bronze.web")
    assert made.properties["mulgil.time"] == "event_time"
    assert [str(field.transform) for field in made.spec.fields] == ["day"]
    assert str(made.arrow_schema.field("event_time").type) == "timestamp[us, tz=UTC]"
    assert "_rescued" in made.arrow_schema.names


def test_late_and_future_events_land_in_their_own_days(line: SmallLine) -> None:
    line.post(event(99))
    line.deliver()
    days = ["2026-11-22", "2019-02-28", "2131-12-31", "1969-07-20"]
    line.post(*[event(number, event_time=f"{day}T23:59:59.999Z") for number, day in enumerate(days)])
    line.deliver()
    folders = {Path(file.path).parent.name for file in line.catalog.load("bronze.web").files()}
    assert folders == {f"event_time_day={day}" for day in days}
    assert balanced(line)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0000-12-31T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_time_before_the_year_1_or_after_9999_is_rescued_and_stops_nothing(line: SmallLine, moment: str) -> None:
    line.post(event(1))
    line.deliver()
    line.post(event(2, event_time=moment), event(3))
    line.deliver()
    assert {row["n"]: row["_rescued"] for row in line.rows().to_pylist()} == {
        1: None, 2: json.dumps({"event_time": moment}, separators=(",", ":")), 3: None,
    }  # fmt: skip
    assert pyiceberg_rows(line.database.path, "bronze.web").num_rows == 3
    assert balanced(line)


@pytest.mark.parametrize("levels", [31, 60])
def test_however_deep_records_are_nested_the_table_can_be_read(line: SmallLine, levels: int) -> None:
    line.post(event(1))
    line.post(b'{"n":2,"o":' + b'{"d":' * levels + b"1" + b"}" * (levels + 1))
    line.deliver()
    found = sorted(pyiceberg_rows(line.database.path, "bronze.web")["n"].to_pylist())
    assert (found, len(line.quarantined())) == (([1, 2], 0) if levels == 31 else ([1], 1))
    assert balanced(line)


def test_a_partition_by_a_long_text_stops_nothing(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", partition=("url",)))
    line.post(*[event(number, url="한" * 500 + str(number)) for number in range(3)])
    line.deliver()
    assert sorted(row["n"] for row in pyiceberg_rows(line.database.path, "bronze.web").to_pylist()) == [0, 1, 2]
    line.close()


@pytest.mark.parametrize(
    "target",
    [Target("bronze.web", time="at"), Target("bronze.web", partition=("day(at)",), time="at")],
    ids=["time", "partition by time"],
)
def test_a_time_that_is_declared_and_not_sent_stops_nothing(folder: Path, target: Target) -> None:
    line = SmallLine(folder, target)
    line.post({"n": 1})
    line.deliver()
    line.post({"n": 2, "at": "2026-11-22T10:00:00Z", "user": "a"})
    line.deliver()
    assert line.numbers() == [1, 2]
    assert balanced(line)
    line.close()


def test_records_without_the_column_that_a_new_table_is_partitioned_by_wait_in_quarantine(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", partition=("bucket(4, user)",)))
    line.post({"n": 1})
    line.deliver()
    assert "partitioned by user" in line.quarantined()[0]["reason"]
    assert line.redrive() == (0, 0, 1)
    line.post({"n": 2, "user": "a"}, {"n": 3})
    line.deliver()
    line.post({"n": 4})
    line.deliver()
    assert line.numbers() == [2, 3, 4]
    assert line.redrive() == (1, 0, 0)
    assert line.numbers() == [1, 2, 3, 4]
    assert balanced(line)
    line.close()


def test_new_fields_add_columns_and_misfits_are_rescued(line: SmallLine) -> None:
    line.post(event(1, price=1))
    line.deliver()
    line.post(event(2, price="dear", city="서울", user={"id": 7}), event(3, user={"id": 8, "name": "x"}))
    line.deliver()
    line.post(event(4, user={"id": 8, "age": 3}))
    line.deliver()
    rows = line.rows().sort_by("n").to_pylist()
    assert [row["price"] for row in rows] == [1, None, None, None]
    assert json.loads(rows[1]["_rescued"]) == {"price": "dear"}
    assert rows[1]["city"] == "서울"
    assert [row["user"] and row["user"]["id"] for row in rows] == [None, 7, 8, 8]
    assert rows[3]["user"]["age"] == 3
    with line.database.read() as read:
        told = {text for (text,) in read.execute("SELECT event FROM schema_event")}
    assert any(text.startswith("price") for text in told)
    assert "column city added" in told
    assert balanced(line)


def test_a_conflict_that_comes_with_every_batch_is_told_once(line: SmallLine) -> None:
    line.post(event(0, price=1))
    for number in range(1, 6):
        line.post(event(number, price="dear"))
        line.deliver()
    with line.database.read() as read:
        count = read.execute("SELECT count(*) FROM schema_event WHERE event LIKE 'price%'")
    assert count == [(1,)]
    assert line.lines.getvalue().count('"change": "price') == 1


def test_structs_that_grow_differently_within_one_delivery_fit_together(line: SmallLine) -> None:
    big = "x" * 3_000_000  # each block is decoded by itself
    line.post(event(1, user={"id": 1}, big=big))
    line.post(event(2, user={"name": "b", "deep": {"x": 1}}, big=big))
    line.post(event(3, user={"deep": {"y": "z"}}, big=big))
    line.deliver()
    rows = line.rows(columns=["n", "user"]).sort_by("n").to_pylist()
    assert rows[2]["user"] == {"id": None, "name": None, "deep": {"x": None, "y": "z"}}
    assert rows[1]["user"]["deep"] == {"x": 1, "y": None}
    assert balanced(line)


def test_strict_sources_put_misfits_into_quarantine(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", event_id="event_id"))
    line.post(event(1))
    line.deliver()
    line.target = replace(line.target, strict=True)
    line.restart()
    line.post(event(2), event(3, surprise=1), event(4) | {"n": "four"})
    line.deliver()
    assert line.numbers() == [1, 2]
    assert len(line.quarantined()) == 2
    assert "surprise" in " ".join(row["reason"] for row in line.quarantined())
    assert balanced(line)
    line.close()


def test_quarantine_keeps_the_bytes_the_place_and_the_reason(line: SmallLine) -> None:
    wrong = b'{"event_id": "\xff\xfe", "n": '
    line.post(event(1), wrong, event(2))
    line.deliver()
    (row,) = line.quarantined()
    assert row["raw"] == wrong
    assert positions.read_position(row["_position"]) == (0, 1)
    assert row["reason"]
    assert row["_source"] == "web"
    assert (line.booked().records_in, line.booked().rows_out, line.booked().quarantined) == (3, 2, 1)
    assert balanced(line)


def test_a_first_batch_of_nothing_but_bad_records_does_not_spoil_the_table(line: SmallLine) -> None:
    line.post(b"{no", b"{json")
    line.deliver()
    assert line.catalog.names() == ["bronze.web__quarantine"]
    line.post(event(1))
    line.deliver()
    assert line.catalog.load("bronze.web").properties["mulgil.time"] == "event_time"
    assert balanced(line)


def test_two_sources_fill_one_table_at_once(folder: Path) -> None:
    """Each brings columns and types of its own, and both begin when there is no table yet."""
    web = SmallLine(folder, source="web")
    app = SmallLine(folder, source="app")
    app.catalog = web.catalog  # one process has one catalog
    web.restart()
    app.database.close()
    app.database, app.catalog, app.store = web.database, web.catalog, web.store
    app.flow = type(app.flow)(
        StreamSource("app", app.stream), app.target, catalog=web.catalog, database=web.database,
        committer=web.flow._committer, seen=None, settings=web.flow._settings, clock=web.clock, metrics=app.metrics,
        log=app.flow._log,
    )  # fmt: skip

    def run(line: SmallLine, mine: Any) -> None:
        for number in range(15):
            line.post(
                {"n": number, "event_time": "2026-11-22T10:00:00Z", "shared": mine, f"of_{line.source}_{number}": 1}
            )
            line.deliver()

    with ThreadPoolExecutor() as pool:
        list(pool.map(run, (web, app), ("text", 5)))
    rows = web.rows()
    assert sorted(rows["n"].to_pylist()) == sorted([*range(15), *range(15)])
    assert {f"of_{one}_14" for one in ("web", "app")} <= set(rows.column_names)
    kept = [
        row["shared"] if row["shared"] is not None else json.loads(row["_rescued"])["shared"]
        for row in rows.to_pylist()
    ]
    assert {str(one) for one in kept} == {"text", "5"}
    assert web.differences() == []
    assert web.strays() == []
    web.close()


# Once, whatever is sent twice


def test_a_request_sent_twice_counts_once_in_a_batch_and_across(line: SmallLine) -> None:
    body = [{"n": 1}, {"n": 2}]
    line.post(*body, key="a")
    line.post(*body, key="a")
    line.post({"n": 3})
    line.deliver()
    line.post(*body, key="a")
    line.post({"n": 4}, key="b\udce9")
    line.deliver()
    line.restart()
    line.post(*body, key="a")
    line.post({"n": 4}, key="b\udce9")
    line.deliver()
    assert line.numbers() == [1, 2, 3, 4]
    assert line.booked().deduplicated == 7
    assert balanced(line)


def test_keys_are_forgotten_after_their_days(line: SmallLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FORGET_ROWS", 2)
    for number in range(5):
        line.post({"n": number}, key=f"key-{number}")
    line.deliver()
    line.clock.turn(6.9 * 86400)
    line.post({"n": 0}, key="key-0")
    line.deliver()
    line.clock.turn(86400)
    for number in range(5):
        line.post({"n": 100 + number})
        line.deliver()
    with line.database.read() as read:
        assert read.execute("SELECT count(*) FROM idempotency_key") == [(0,)], "also when there are many of them"
    line.post({"n": 0}, key="key-0")
    line.deliver()
    assert line.numbers().count(0) == 2
    assert balanced(line)


def test_an_event_id_lands_once_in_a_batch_across_batches_and_restarts(line: SmallLine) -> None:
    line.post(event(1), event(1), event(2), {"n": 9}, {"n": 9}, {"n": 9, "event_id": None}, {"n": 9, "event_id": ""})
    line.deliver()
    line.post(event(2), event(3))
    line.deliver()
    line.restart()
    line.post(event(3), event(1), event(4))
    line.deliver()
    assert line.numbers() == [1, 2, 3, 4, 9, 9, 9, 9]
    assert line.booked().deduplicated == 4
    assert balanced(line)


def test_event_ids_survive_merges_and_are_forgotten_in_time(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", event_id="event_id", remember_days=1))
    for first in range(0, 200, 10):
        line.post(*[event(number) for number in range(first, first + 10)])
        line.deliver()
    line.restart()
    line.post(*[event(number) for number in range(200)])
    line.deliver()
    assert line.numbers() == list(range(200))
    line.clock.turn(3 * 86400)
    line.post(event(1000))
    line.deliver()
    line.post(event(0))
    line.deliver()
    assert line.numbers().count(0) == 2
    assert balanced(line)
    line.close()


@pytest.mark.parametrize("value", [7, 1.5, True, {"a": 1}, [1, 2]])
def test_event_ids_of_any_type_stop_nothing(line: SmallLine, value: object) -> None:
    line.post({"n": 1, "event_id": value})
    line.deliver()
    line.post({"n": 2, "event_id": "text by now"}, {"n": 3, "event_id": value})
    line.deliver()
    assert line.numbers()[:2] == [1, 2]
    assert balanced(line)


# Failures


def test_a_commit_that_happened_although_it_was_said_to_have_failed_is_not_done_again(line: SmallLine) -> None:
    line.post(event(1), {"n": 2}, b"{bad")
    committed = type(line.database).transaction

    def fail_after(self: Database) -> Any:
        return _failing_after(committed(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FailingDatabase, "transaction", fail_after)
        with suppress(Retry):  # the housekeeping after it
            line.deliver()
    line.deliver()
    line.post(event(1), {"n": 3})
    line.deliver()
    assert line.numbers() == [1, 2, 3]
    assert len(line.quarantined()) == 1
    assert line.booked().records_in == 5
    assert balanced(line)


class _failing_after:  # noqa: N801
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __enter__(self) -> Any:
        return self.inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.inner.__exit__(*error)
        if error[0] is None:
            raise Retry("the answer was lost")


def test_when_nobody_knows_whether_a_commit_happened_the_flow_stops(
    line: SmallLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.post(event(1))
    line.deliver()
    line.post(event(2))
    committed = FailingDatabase.transaction
    monkeypatch.setattr(FailingDatabase, "transaction", lambda self: _failing_after(committed(self)))

    def gone(database: Database, source: str) -> Any:
        raise Retry("the disk is gone")

    with monkeypatch.context() as patch, pytest.raises(Broken, match="does not tell"):  # noqa: PT012
        patch.setattr(positions, "load", gone)
        line.flow.step(flush=True)
    monkeypatch.undo()
    line.restart()
    line.deliver()
    assert line.numbers() == [1, 2]
    assert balanced(line)


def test_a_fenced_flow_changes_nothing_and_leaves_nothing(line: SmallLine) -> None:
    line.post(event(1))
    line.deliver()
    successor = Epoch.take(line.database, line.epoch.name)
    line.post(event(2))
    with pytest.raises(Fenced):
        line.deliver()
    assert line.numbers() == [1]
    assert line.booked().records_in == 1
    assert line.strays() == []
    assert successor.number > line.epoch.number


def test_housekeeping_that_fails_after_a_commit_doubles_nothing(
    line: SmallLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(now_us: int) -> None:
        raise Retry("no merge today")

    monkeypatch.setattr(line.seen, "tidy", fail)
    line.post({"n": 1})
    with pytest.raises(Retry):
        line.flow.step(flush=True)
    line.flow.step(flush=True)
    assert line.numbers() == [1]


def test_a_source_that_cannot_resume_is_told_at_the_first_step(line: SmallLine) -> None:
    line.post(event(1), event(2))
    line.deliver()
    line.stream = MemoryStream(StreamSettings(), line.clock)  # its folder was deleted, the state was not
    line.restart()
    line.post(event(3))
    with pytest.raises(Broken, match="2 records of the stream are in the lake"):
        line.flow.step(flush=True)


def test_what_waits_is_bounded_while_commits_fail(line: SmallLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        line.post(event(number, text="x" * 1000))
    monkeypatch.setattr(line.flow, "_settings", replace(line.flow._settings, batch_bytes_max=10_000))
    line.failpoints.rate = 1.0
    for _ in range(50):
        with pytest.raises(MulgilError):
            line.flow.step(flush=True)
    assert line.flow._pending_bytes < 13_000
    line.failpoints.rate = 0.0
    line.deliver()
    assert line.numbers() == list(range(40))
    assert balanced(line)


def test_records_that_are_missing_without_a_word_stop_the_flow(line: SmallLine) -> None:
    class Forgetful:
        name = "web"

        def __init__(self) -> None:
            self.blocks = [block(0, 2), block(5, 1)]

        def resume(self, marks: object) -> None: ...

        def poll(self, bytes_max: int) -> list[Block]:
            return [self.blocks.pop(0)] if self.blocks else []

        def committed(self, marks: object) -> None: ...

        def finish(self) -> None: ...

        def problems(self) -> list[tuple[str, str, str]]:
            return []

        def lag(self) -> Lag:
            return Lag()

        def close(self) -> None: ...

    def block(place: int, count: int) -> Block:
        payload = b"".join(json.dumps(event(number)).encode() + b"\n" for number in range(place, place + count))
        return Block("shard-0", "record", place, payload, line.clock.now_us(), Mark("shard-0", place + count))

    line.new_source = Forgetful  # type: ignore[method-assign]
    line.restart()
    line.flow.step(flush=True)
    with pytest.raises(Broken, match="from 2 to 5 are missing"):
        line.flow.step(flush=True)


# An agent's files, whose bytes come through the stream


def ship(
    line: SmallLine, generation: str, offset: int, data: bytes, *, form: Format | None = None, unreadable: int = 0
) -> None:
    about: dict[str, Any] = {"generation": generation, "offset": offset, "length": len(data), "host": "h", "path": "/p"}
    if form is not None:
        about["format"] = form.as_dict()
    if unreadable:
        about["unreadable"] = unreadable
    answers: list[Any] = []
    payload = data if data.endswith(b"\n") else data + b"\n"
    line.stream.append(payload, payload.count(b"\n"), meta=json.dumps(about).encode(), done=answers.append)
    assert not isinstance(answers[0], MulgilError)


def test_what_an_agent_sends_again_lands_once(line: SmallLine) -> None:
    lines = [json.dumps({"n": number}).encode() + b"\n" for number in range(6)]
    whole = b"".join(lines)
    third, fifth = len(b"".join(lines[:3])), len(b"".join(lines[:5]))
    ship(line, "g1", 0, whole[:third], unreadable=7)
    ship(line, "g1", 0, whole[:third], unreadable=7)
    line.deliver()
    ship(line, "g1", 0, whole[:fifth], unreadable=7)
    ship(line, "g2", 0, whole[:third])
    line.deliver()
    line.restart()
    ship(line, "g1", third, whole[third:])
    line.deliver()
    assert line.numbers() == sorted([0, 1, 2, 3, 4, 5, 0, 1, 2])
    booked = line.booked()
    assert booked.bytes_read == len(whole) + third
    assert booked.bytes_unreadable == 7
    assert booked.deduplicated == 3 + 3 + 2
    assert balanced(line)


def test_bytes_that_an_agent_leaves_out_are_in_the_books(line: SmallLine) -> None:
    ship(line, "g1", 100, b'{"n":1}\n')
    line.deliver()
    ship(line, "g1", 150, b'{"n":2}\n')
    line.deliver()
    assert line.numbers() == [1, 2]
    assert line.booked().bytes_skipped == 100 + 42
    assert balanced(line)


def test_a_format_that_cannot_work_makes_its_own_records_bad_and_no_others(line: SmallLine) -> None:
    ship(line, "g1", 0, b"one\ntwo\n", form=Format(kind="regex", pattern="(("))
    ship(line, "g2", 0, b'{"n":1}\n')
    line.deliver()
    assert line.numbers() == [1]
    assert [row["raw"] for row in line.quarantined()] == [b"one", b"two"]
    assert "format" in line.quarantined()[0]["reason"]
    assert balanced(line)


def test_thousands_of_new_files_in_one_delivery_take_no_time(line: SmallLine) -> None:
    for number in range(3_000):
        ship(line, f"g{number}", 0, b'{"n":%d}\n' % number)
    line.deliver()
    assert line.numbers() == list(range(3_000))
    assert len({row["_position"] >> 40 for row in line.rows(columns=["_position"]).to_pylist()}) == 3_000
    assert balanced(line)


# The stream as a source


def test_a_shard_that_cannot_be_read_takes_nothing_from_the_others(line: SmallLine) -> None:
    stream = MemoryStream(StreamSettings(shards=2), line.clock)
    answers: list[Any] = []
    for shard in (0, 1):
        stream.append(b'{"n":1}\n', 1, shard=shard, done=answers.append)
    source = StreamSource("web", stream)
    source.resume([])
    read = stream.read

    def fail_once(shard: int, sequence: int, bytes_max: int) -> Any:
        if shard == 1:
            raise Retry("the disk stutters")
        return read(shard, sequence, bytes_max)

    stream.read = fail_once  # type: ignore[method-assign]
    with pytest.raises(Retry):
        source.poll(1000)
    stream.read = read  # type: ignore[method-assign]
    assert [block.part for block in source.poll(1000)] == ["shard-0", "shard-1"]


def test_the_lag_may_be_asked_from_any_thread_while_the_flow_works(line: SmallLine) -> None:
    stop = threading.Event()

    def ask() -> list[Lag]:
        told = []
        while not stop.wait(0.001):
            told.append(line.flow.source.lag())
        return told

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        try:
            for number in range(30):
                line.post(event(number))
                line.deliver()
        finally:
            stop.set()
        told = asking.result()
    assert all(one.waiting_records is not None and 0 <= one.waiting_records <= 2 for one in told)
    assert line.flow.source.lag() == Lag(0, 0, None)
    line.post(event(99))
    assert line.flow.source.lag().waiting_records == 1
