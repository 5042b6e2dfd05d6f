from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from running import Running, project, wait_for

from mulgil.app import quarantined
from mulgil.app.books import balance, books
from mulgil.app.status import read_status, status_table
from mulgil.app.wiring import open_lake
from mulgil.errors import Missing


def test_the_status_is_asked_of_the_server_or_read_from_what_it_left(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        running.post({"n": 1}, {"n": 2})
        wait_for(lambda: running.count("bronze.web") == 2)
        now = read_status(settings)
        assert (now.running, now.ok) == (True, True)
        assert str(settings.listen) in now.headline
        web = next(row for row in now.sources if row["source"] == "web")
        assert (web["state"], web["rows"], web["waiting_records"]) == ("delivering", 2, 0)
    after = read_status(settings)
    assert (after.running, after.ok) == (False, True)
    first = status_table(after).to_pylist()[0]
    assert (first["source"], first["state"], first["rows"]) == ("web", "stopped", 2)
    with Running(settings) as running:
        running.post({"n": 3})


def test_quarantine_is_shown_with_where_it_came_from_and_led_back(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        running.post({"n": 1, "event_id": "a"})
        status, _ = running.ask("POST", "/v1/web", b'{"n":2,"n":3,"event_id":"b"}')
        assert status == 202
    lake = open_lake(settings)
    assert balance(lake) == []
    (row,) = quarantined.overview(lake).to_pylist()
    assert (row["table"], row["records"]) == ("bronze.web", 1)
    (record,) = quarantined.records(lake, "bronze.web", 10).to_pylist()
    assert record["where"] == "shard-0:1"
    assert json.loads(record["raw"]) == {"n": 3, "event_id": "b"}
    ((name, done),) = quarantined.redrive(lake, [])
    assert (name, done.moved, done.left) == ("bronze.web", 0, 1)
    with pytest.raises(Missing):
        list(quarantined.redrive(lake, ["bronze.nothing"]))
    table = books(lake)
    assert table.schema.field("hour").type == pa.timestamp("us", "UTC")
    assert books(lake, by_hour=False).select(["source", "records_in", "quarantined"]).to_pylist() == [
        {"source": "web", "records_in": 2, "quarantined": 1}
    ]
    lake.close()


FILES_ALONE = """
sources:
  access: {{type: files, table: bronze.access, path: "*.log"}}
"""


@pytest.mark.parametrize("listen", ["", 'listen: "{listen}"'])
def test_a_project_of_files_alone_has_a_door_where_it_asks_for_one(listen: str, folder: Path) -> None:
    settings = project(folder, listen + FILES_ALONE)
    with Running(settings) as running:
        assert (running.service.url is None) == (not listen)
        if listen:
            assert running.ask("GET", "/healthz")[1]["sources"]["access"]["up"]
            assert running.ask("POST", "/v1/access", b"{}")[0] == 404
        seen = read_status(settings)
        assert [row["state"] for row in seen.sources] == ["delivering" if listen else "running"]
        assert ("listen:" in seen.headline) == (not listen)


def test_a_file_that_cannot_be_read_is_told_everywhere(folder: Path) -> None:
    settings = project(folder, 'listen: "{listen}"' + FILES_ALONE.replace("*.log", "*.gz"))
    (folder / "good.gz").write_bytes(gzip.compress(b'{"n":1}\n'))
    (folder / "bad.gz").write_bytes(gzip.compress(b"x" * 1000)[:-10])
    with Running(settings) as running:
        wait_for(lambda: running.service.states["access"].problems)
        (row,) = read_status(settings).sources
        assert (row["state"], "bad.gz" in row["error"]) == ("delivering", True)
        assert read_status(settings).troubles() == [f"access: {row['error']}"]
        status, told = running.ask("GET", "/healthz")
        assert (status, told["status"]) == (200, "ok")
        assert "bad.gz" in told["sources"]["access"]["unreadable_files"][0]
        assert running.service.metrics.value("mulgil_unreadable_files", "access") == 1
        wait_for(lambda: running.count("bronze.access") == 1)
    assert running.lines.getvalue().count('"file_waits"') == 1
    once = subprocess.run(
        [sys.executable, "-m", "mulgil", "run", "--once"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (once.returncode, "bad.gz" in once.stderr) == (1, True)
    assert once.stderr.splitlines()[-1] == "1 file could not be read, see above"
