from __future__ import annotations

import json
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
