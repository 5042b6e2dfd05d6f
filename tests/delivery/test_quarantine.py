from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_line import Failpoints, SmallLine, event

from mulgil.catalog import quarantine_of
from mulgil.delivery import Seen, Target, quarantine
from mulgil.errors import Missing, MulgilError
from mulgil.storage import LocalStore

STRICT = Target("bronze.web", event_id="event_id", strict=True, columns={"price": "double"})
RELAXED = replace(STRICT, strict=False)


def with_misfits(folder: Path, *more: dict[str, Any], failpoints: Failpoints | None = None) -> SmallLine:
    """A line whose table has n = 0, and whose quarantine has n = 1, 2, 3 and a record that will never fit."""
    line = SmallLine(folder, RELAXED, failpoints=failpoints)
    line.post(event(0))
    line.deliver()
    line.target = STRICT
    line.restart()
    line.post(*[event(number, extra="x") for number in (1, 2, 3)], b"{never", *more)
    line.deliver()
    assert line.numbers() == [0]
    return line


def test_what_fits_now_is_moved_with_its_source_and_position_and_the_rest_stays(folder: Path) -> None:
    line = with_misfits(folder)
    before = {row["_position"]: row for row in line.quarantined()}
    line.clock.turn(7200)
    assert line.redrive(target=RELAXED) == (3, 0, 1)
    assert line.numbers() == [0, 1, 2, 3]
    moved = [row for row in line.rows().to_pylist() if row["n"]]
    assert {row["_position"] for row in moved} < set(before)
    assert all(row["_ingested_at"] == before[row["_position"]]["_ingested_at"] for row in moved)
    assert {row["_source"] for row in moved} == {"web"}
    assert [row["raw"] for row in line.quarantined()] == [b"{never"]
    assert (line.booked().rows_out, line.booked().quarantined, line.booked().records_in) == (4, 1, 5)
    assert line.differences() == []
    assert line.strays() == []
    line.close()


def test_doing_it_again_moves_nothing_again(folder: Path) -> None:
    line = with_misfits(folder)
    line.redrive(target=RELAXED)
    assert line.redrive(target=RELAXED) == (0, 0, 1)
    line.restart()
    assert line.redrive(target=RELAXED) == (0, 0, 1)
    assert line.numbers() == [0, 1, 2, 3]
    assert line.differences() == []
    line.close()


def test_an_event_that_came_in_by_another_way_meanwhile_is_dropped(folder: Path) -> None:
    line = with_misfits(folder, event(2, extra="again"))
    line.post(event(1))
    line.deliver()
    assert line.redrive(target=RELAXED) == (2, 2, 1)
    assert line.numbers() == [0, 1, 2, 3]
    line.post(event(3), event(4))
    line.deliver()
    assert line.numbers() == [0, 1, 2, 3, 4], "the running flow knows what was redriven"
    assert line.differences() == []
    line.close()


def test_records_of_a_source_that_is_not_declared_any_more_stay(folder: Path) -> None:
    line = with_misfits(folder)
    one = quarantine.redrive(
        "bronze.web", {}, lake=line.catalog, database=line.database, settings=line.table_settings,
        clock=line.clock, seen={},
    )  # fmt: skip
    assert (one.moved, one.left) == (0, 4)
    with pytest.raises(Missing):
        quarantine.read(line.catalog, "bronze.other")
    line.close()


def test_a_flow_that_adds_misfits_all_the_time_does_not_keep_it_from_its_end(folder: Path) -> None:
    line = with_misfits(folder)

    class Interrupted(Seen):
        def fresh(self, hashes: Any) -> Any:
            line.post(b"{never")
            line.deliver()
            return super().fresh(hashes)

    seen = Interrupted(line.database, LocalStore(), folder / "seen" / "web", "web", 7)
    assert line.redrive(target=RELAXED, seen=seen) == (3, 0, 1)
    assert len(line.quarantined()) == 2
    assert line.differences() == []
    assert line.strays() == []
    line.close()


@pytest.mark.parametrize("processes", ["one", "two"])
def test_it_may_run_beside_the_flow(folder: Path, processes: str) -> None:
    """The flow goes on adding rows and misfits; some events come in both ways."""
    line = with_misfits(folder)
    other = line
    if processes == "two":
        other = SmallLine(folder, STRICT, source="other")  # has a catalog and locks of its own
        other.source = "web"
    stop = threading.Event()

    def redrive() -> int:
        moved = 0
        while not stop.is_set():
            try:
                moved += other.redrive(target=RELAXED)[0]
            except MulgilError:
                continue  # the tables moved faster
        return moved

    with ThreadPoolExecutor() as pool:
        redriving = pool.submit(redrive)
        try:
            for number in range(10, 60, 2):
                line.post(event(number), event(number + 1, extra="x"), event(number - 1), event(number - 2, extra="y"))
                line.deliver()
        finally:
            stop.set()
        moved = redriving.result(timeout=60)
    moved += line.redrive(target=RELAXED)[0]
    assert moved
    assert line.numbers() == [0, 1, 2, 3, 8, *range(9, 60)]
    assert len(line.quarantined()) == 1
    assert line.differences() == []
    assert line.strays() == []
    line.close()
    if other is not line:
        other.close()


@pytest.mark.parametrize("seed", range(6))
def test_it_is_whole_or_nothing_wherever_it_fails(folder: Path, seed: int) -> None:
    failpoints = Failpoints(seed)
    line = with_misfits(folder, failpoints=failpoints)
    for _ in range(200):
        failpoints.rate = 0.15
        try:
            line.redrive(target=RELAXED)
        except MulgilError:
            pass
        finally:
            failpoints.rate = 0.0
        assert line.differences() == []
        assert line.strays() == []
        if not failpoints.failed or len(line.quarantined()) > 1:
            continue
        break
    assert line.numbers() == [0, 1, 2, 3]
    assert len(line.quarantined()) == 1
    line.close()


def test_a_table_that_only_redriving_makes_is_made_as_a_flow_would(folder: Path) -> None:
    line = SmallLine(folder, replace(STRICT, columns={"n": "date"}))
    line.post(event(1), event(2))
    line.deliver()
    assert line.catalog.names() == [quarantine_of("bronze.web")]
    assert line.redrive(target=replace(RELAXED, columns={})) == (2, 0, 0)
    made = line.catalog.load("bronze.web")
    assert made.properties["mulgil.time"] == "event_time"
    assert [field.name for field in made.spec.fields] == ["event_time_day"]
    assert line.differences() == []
    line.close()
