from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mulgil.app.demo import folder as folders
from mulgil.app.demo.log_writer import AccessLog
from mulgil.app.demo.show import BARS, sparkline
from mulgil.app.demo.site import DAY_US, EVENTS_A_VISIT, HOUR_US, KOREA_US, Happenings, Site, crowd, korean_midnight
from mulgil.delivery import decode
from mulgil.errors import Invalid
from mulgil.record import Records
from mulgil.schema import Format

START_US = korean_midnight(1_764_000_000_000_000)
EVENTS = 20_000


def a_day(seed: int = 7, run: int = 1, events: int = EVENTS, steps: int = 200) -> tuple[Site, list[Happenings]]:
    site = Site(seed, run, START_US, events / EVENTS_A_VISIT)
    happened = [site.advance(START_US + DAY_US * step // steps) for step in range(1, steps + 1)]
    return site, [*happened, site.finish()]


SITE, DAY = a_day()
DECODED = [json.loads(event) for step in DAY for event in step.events]
LINES = [line for step in DAY for line in step.lines]


def test_the_same_seed_makes_the_same_traffic_and_another_seed_another() -> None:
    assert a_day()[1] == DAY
    assert a_day(seed=8)[1] != DAY


def test_a_second_run_brings_events_of_its_own() -> None:
    mine = {event["event_id"] for event in DECODED}
    assert not mine & {json.loads(event)["event_id"] for step in a_day(run=2)[1] for event in step.events}


def test_about_as_many_events_are_made_as_asked_for() -> None:
    assert 0.9 * EVENTS < SITE.events < 1.1 * EVENTS


def test_what_the_site_says_it_made_is_what_it_made() -> None:
    ids = Counter(event["event_id"] for event in DECODED)
    assert len(ids) == SITE.events
    assert len(DECODED) - len(ids) == SITE.oddities.copies > 0
    assert len(LINES) == SITE.lines
    assert sum(isinstance(event.get("price_krw"), str) for event in DECODED) == SITE.oddities.conflicts > 0


def test_copies_stand_first_in_a_later_step() -> None:
    seen: set[str] = set()
    for step in DAY:
        assert all(event in seen for event in step.events[: step.copies])
        assert not any(event in seen for event in step.events[step.copies :])
        seen.update(step.events)


def test_lines_are_what_the_line_reads_except_for_the_broken_ones() -> None:
    records = Records.of_list([line.encode() for line in LINES])
    found = decode.decoder(Format("combined"), pa.schema([]), declared={}, time="time", strict=False).decode(records)
    assert len(found.bad) == SITE.oddities.broken_lines > 0
    rows = found.rows.to_pylist()
    assert {row["status"] for row in rows} == {200, 201, 304, 404, 500}
    times = [row["time"].timestamp() * 1e6 for row in rows]
    assert min(times) >= START_US
    assert max(times) < START_US + DAY_US + HOUR_US


def test_every_page_that_a_person_saw_is_in_the_log() -> None:
    viewed = Counter(event["path"] for event in {one["event_id"]: one for one in DECODED}.values())
    served = Counter(match[1] for line in LINES if (match := re.search(r'"GET (/clinic/\S+) HTTP/2.0" 200 ', line)))
    clinics = {path: count for path, count in viewed.items() if path.startswith("/clinic/")}
    people = Counter(event["path"] for event in DECODED if event["event"] == "clinic_view")
    assert len(clinics) > 50
    assert all(served[path] >= people[path] - SITE.oddities.copies for path in clinics)
    assert sum(served.values()) > sum(people.values()), "robots come too"


def test_times_are_of_the_day_but_for_phones_that_were_offline() -> None:
    days = Counter(
        (datetime.datetime.fromisoformat(event["event_time"]).timestamp() * 1e6 - START_US) // DAY_US
        for event in DECODED
    )
    assert days[0] > 0.99 * len(DECODED)
    assert 0 < sum(count for day, count in days.items() if day < 0) <= SITE.oddities.late + SITE.oddities.copies
    assert min(days) >= -4


def test_a_field_appears_in_the_middle_of_the_day() -> None:
    views = [event for event in DECODED if event["event"] == "clinic_view"]
    having = ["variant" in event for event in views]
    assert not having[0]
    assert having[-1]
    assert sorted(having) != having or having.index(True) > len(having) // 3


def test_a_price_is_a_number_except_now_and_then() -> None:
    prices = [event["price_krw"] for event in DECODED if event["event"] == "reservation"]
    assert isinstance(prices[0], int)
    assert sum(isinstance(price, str) for price in prices) < len(prices) / 50


def test_nights_are_quiet_and_the_days_mean_is_one() -> None:
    hours = [crowd(START_US + hour * HOUR_US + HOUR_US // 2) for hour in range(24)]
    assert sum(hours) / 24 == pytest.approx(1, abs=0.01)
    assert min(hours) == hours[3] or min(hours) == hours[4]
    assert max(hours) == hours[21]


def test_yesterday_begins_at_midnight_in_korea() -> None:
    assert (START_US + KOREA_US) % DAY_US == 0
    assert DAY_US <= 1_764_000_000_000_000 - START_US < 2 * DAY_US


def test_the_log_is_renamed_and_nothing_of_it_lost(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, keep=2)
    for number in range(4):
        log.write([f"line {number}"])
        if number < 3:
            log.rotate()
    log.close()
    found = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert found == {"access.log": "line 3\n", "access.log.1": "line 2\n", "access.log.2": "line 1\n"}


def test_a_log_that_is_there_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("before\n")
    log = AccessLog(tmp_path, keep=2)
    log.write(["after"])
    log.close()
    assert (tmp_path / "access.log").read_text() == "before\nafter\n"


def test_each_demo_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    for name in ("mulgil-demo", "mulgil-demo-2", "mulgil-demo-3"):
        assert folders.new_folder(tmp_path).name == name
        assert folders.prepare(tmp_path / name) == 1


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(Invalid, match="not empty"):
        folders.prepare(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_port_that_is_taken_is_left_alone() -> None:
    first = folders.free_port()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert folders.free_port() != first


def test_what_was_edited_stays_and_runs_are_counted(tmp_path: Path) -> None:
    folders.prepare(tmp_path)
    question = next((tmp_path / "questions").glob("2-*.sql"))
    question.write_text("SELECT 1")
    assert folders.prepare(tmp_path) == 2
    assert question.read_text() == "SELECT 1"


def test_the_questions_are_of_the_package(tmp_path: Path) -> None:
    folders.prepare(tmp_path)
    questions = sorted((tmp_path / "questions").iterdir())
    assert [one.name[:2] for one in questions] == ["1-", "2-", "3-", "4-", "5-"]
    assert max(len(line) for one in questions for line in one.read_text().splitlines()) <= 76, "fits 80 columns"


def test_a_sparkline_is_as_high_as_its_highest_and_cuts_a_tower() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == BARS[0] * 2
    assert sparkline([0, 5, 10]) == BARS[0] + BARS[4] + BARS[7]
    assert sparkline([10.0] * 39 + [1000.0])[0] == BARS[7]


def prepared(folder: Path, listen: str = "") -> Path:
    """A demo's folder whose server has a port of its own, so that tests may run side by side."""
    folders.prepare(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = listen or f"127.0.0.1:{probe.getsockname()[1]}"
    file = folder / "mulgil.yaml"
    file.write_text(re.sub(r"listen: .*", f"listen: {listen}", file.read_text()))
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}


def mulgil(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mulgil", *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_whole_demo_ends_by_itself_with_the_books_balanced(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "here")
    done = subprocess.run(
        [sys.executable, "-m", "mulgil", "demo", "--dir", str(folder), "--seconds", "3", "--rate", "500"],
        capture_output=True, text=True, timeout=120, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "killed -9 on purpose" in said
    assert len(re.findall(r"^    \d+ rows? in [\d,]+ ms", said, re.MULTILINE)) == 5
    assert "Every acknowledged record is in the lake exactly once." in said
    assert said.count("✓") == 7
    assert "✗" not in said

    booked = {row["source"]: row for row in rows(mulgil("ledger", "--format", "csv", "--project", str(folder)))}
    claimed = re.search(r"events acknowledged +([\d,]+)", said)
    assert claimed
    assert int(booked["web"]["rows_out"]) == int(claimed[1].replace(",", "")) > 1_000
    assert int(booked["web"]["deduplicated"]) > 0
    assert int(booked["access"]["quarantined"]) > 0
    lines = sum(one.read_bytes().count(b"\n") for one in (folder / "logs").iterdir())
    assert lines == int(booked["access"]["records_in"])


@pytest.mark.parametrize("moment", ["is starting", "first rows"])
def test_ctrl_c_stops_it_in_good_order(moment: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mulgil", "demo", "--dir", str(prepared(tmp_path / "here")), "--rate", "200"],
        stdout=subprocess.PIPE, text=True, env=environment(),
    ) as demo:  # fmt: skip
        assert demo.stdout
        for line in demo.stdout:
            if moment in line:
                break
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait(60) == 130
    assert "Everything is still in" in rest
    log = (tmp_path / "here" / "run.log").read_text()
    assert ('"event": "stopped"' in log) == ('"event": "started"' in log)


def test_a_server_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "here", "192.0.2.1:7410")
    done = subprocess.run(
        [sys.executable, "-m", "mulgil", "demo", "--dir", str(folder)],
        capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no API key yet" in done.stderr
