from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from running import Running, numbers, project, wait_for

from mulgil.app import serve
from mulgil.app.serve import run_once
from mulgil.app.settings import ProjectSettings, load_project
from mulgil.app.wiring import open_lake
from mulgil.clock import SystemClock
from mulgil.errors import Broken, Conflict, Invalid, Retry
from mulgil.state import Epoch, KeyRing
from mulgil.telemetry import Log


def changed(settings: ProjectSettings, old: str, new: str) -> ProjectSettings:
    """The same project with other words in its file."""
    settings.file.write_text(settings.file.read_text().replace(old, new))
    return load_project(settings.folder, {})


def test_what_is_posted_is_in_the_lake_soon_after(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        running.post({"n": 1}, {"n": 2})
        running.post({"n": 3}, source="app")
        wait_for(lambda: running.count("bronze.web") == 2 and running.count("bronze.app") == 1)
        status, health = running.ask("GET", "/healthz")
        assert (status, health["status"]) == (200, "ok")
        assert health["sources"]["web"]["delivered_rows"] == 2
        wait_for(lambda: b'mulgil_source_up{source="web"} 1.0' in running.ask("GET", "/metrics")[1])
    assert numbers(settings, "bronze.web") == [1, 2]


def test_stopping_delivers_what_was_acknowledged(folder: Path) -> None:
    settings = changed(project(folder), "visible_ms: 50", "visible_ms: 3600000")
    with Running(settings) as running:
        for number in range(10):
            running.post({"n": number})
        assert running.count("bronze.web") == 0
    assert numbers(settings, "bronze.web") == list(range(10))


def test_stopping_delivers_it_also_when_that_takes_many_commits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project(folder)
    with Running(settings) as running:
        source = running.service.line.flows["web"].source
        poll = source.poll
        stopping = running.service._stop.is_set
        monkeypatch.setattr(source, "poll", lambda bytes_max: poll(1) if stopping() else [])
        for number in range(10):
            running.post({"n": number})
    assert numbers(settings, "bronze.web") == list(range(10))


def test_what_was_not_delivered_is_delivered_by_the_next_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project(folder)
    with Running(settings) as running:
        monkeypatch.setattr(running.service.line.committer, "commit", _refuse)
        running.post({"n": 1, "event_id": "a"})
        wait_for(lambda: running.service.states["web"].error)
        status, health = running.ask("GET", "/healthz")
        assert (status, health["sources"]["web"]["error"]) == (200, "the disk is full"), "it waits, and may yet go on"
        assert health["sources"]["web"]["waiting_records"] == 1
    assert numbers(settings, "bronze.web") == []
    with Running(settings) as running:
        running.post({"n": 1, "event_id": "a"}, {"n": 2})
    assert numbers(settings, "bronze.web") == [1, 2]


def _refuse(*_: object) -> Any:
    raise Retry("the disk is full", after_s=0.01)


@pytest.mark.parametrize("error", [Broken("it is broken", hint="look at it"), ZeroDivisionError("a fault")])
def test_a_flow_that_fails_does_not_stop_the_others(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project(folder)
    with Running(settings) as running:

        def fail(*_: object) -> Any:
            raise error

        monkeypatch.setattr(running.service.line.flows["web"], "_deliver", fail)
        running.post({"n": 1})
        wait_for(lambda: not running.service.states["web"].up)
        running.post({"n": 2}, source="app")
        wait_for(lambda: running.count("bronze.app") == 1)
        running.post({"n": 3})
        status, health = running.ask("GET", "/healthz")
        assert (status, health["status"]) == (503, "failing")
        assert (health["sources"]["web"]["up"], health["sources"]["app"]["up"]) == (False, True)
        assert ("Traceback" in running.lines.getvalue()) == (not isinstance(error, Broken))
        monkeypatch.undo()
    with Running(settings):
        pass
    assert numbers(settings, "bronze.web") == [1, 3]


def test_a_stream_that_was_deleted_stops_its_own_source_alone(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        running.post({"n": 1})
        running.post({"n": 2}, source="app")
    for path in sorted((folder / "stream" / "web").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with Running(settings) as running:
        wait_for(lambda: not running.service.states["web"].up)
        assert "restore it" in running.service.states["web"].hint
        running.post({"n": 3}, source="app")
    assert numbers(settings, "bronze.app") == [2, 3]


def test_a_second_service_in_one_project_refuses_and_names_the_first(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        with pytest.raises(Conflict, match=f"process {os.getpid()} "):
            Running(settings)
        lake = open_lake(settings)
        with pytest.raises(Conflict):
            run_once(lake, Log(running.lines))
        lake.close()
        running.post({"n": 1})
    assert numbers(settings, "bronze.web") == [1]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_an_address_that_others_reach_needs_a_key_first(folder: Path, host: str) -> None:
    settings = project(folder, host=host)
    with pytest.raises(Invalid, match="no API key"):
        Running(settings)
    lake = open_lake(settings)
    key, secret = KeyRing(lake.database, SystemClock()).create(["write:web"])
    lake.close()
    with Running(settings) as running:
        assert running.ask("POST", "/v1/web", b"{}")[0] == 401
        assert running.ask("POST", "/v1/app", b"{}", authorization=f"Bearer {secret}")[0] == 403
        running.post({"n": 1}, authorization=f"Bearer {secret}")
        assert running.ask("GET", "/metrics")[0] == 401
        KeyRing(running.lake.database, SystemClock()).revoke(key.id)
        wait_for(lambda: running.ask("POST", "/v1/web", b"{}", authorization=f"Bearer {secret}")[0] in (401, 403), 5)
        assert secret not in running.lines.getvalue()


def test_an_address_that_is_taken_leaves_the_project_free(folder: Path) -> None:
    settings = project(folder)
    other = folder / "other"
    other.mkdir()
    taken = project(other)
    (other / "mulgil.yaml").write_text((folder / "mulgil.yaml").read_text())
    with Running(settings), pytest.raises(Invalid, match="cannot listen"):
        Running(load_project(other, {}))
    with Running(taken) as running:
        running.post({"n": 1})


def test_another_process_that_takes_over_ends_this_one(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        Epoch.take(running.lake.database, "delivery")
        running.post({"n": 1})
        waiting = threading.Thread(target=running.service.wait, args=(threading.Event(),), daemon=True)
        waiting.start()
        waiting.join(timeout=10)
        assert not waiting.is_alive()
        assert running.service.fenced
        assert running.count("bronze.web") == 0


def test_a_source_that_never_ends_does_not_hold_up_the_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "STOP_S_MAX", 0.3)
    settings = project(folder)
    with Running(settings) as running:
        monkeypatch.setattr(running.service.line.flows["web"], "step", lambda *, flush=False: True)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10


def test_a_watch_that_fails_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "WATCH_S", 0.01)
    settings = project(folder)
    running = Running(settings)
    calls: list[int] = []

    def fail(path: object) -> Any:
        calls.append(1)
        raise OSError("no such folder")

    monkeypatch.setattr(serve.shutil, "disk_usage", fail)
    with running:
        wait_for(lambda: len(calls) > 3)
        running.post({"n": 1})
    assert "watch_failed" in running.lines.getvalue()
    assert numbers(settings, "bronze.web") == [1]


@pytest.mark.slow
def test_a_source_that_lags_too_far_takes_no_more_until_it_has_caught_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "WATCH_S", 0.02)
    settings = changed(project(folder), "disk_free_mb: 0", "disk_free_mb: 0, lag_mb: 1")
    with Running(settings) as running:
        with monkeypatch.context() as patch:
            patch.setattr(running.service.line.committer, "commit", _refuse)
            running.post({"n": 1, "text": "x" * 3_000_000})
            wait_for(lambda: running.ask("POST", "/v1/web", b'{"n":2}')[0] == 429)
            running.post({"n": 2}, source="app")
        wait_for(lambda: running.ask("POST", "/v1/web", b'{"n":3}')[0] == 202)
    assert set(numbers(settings, "bronze.web")) - {2} == {1, 3}


def test_a_service_that_never_started_can_be_stopped(folder: Path) -> None:
    settings = project(folder)
    running = Running(settings)
    running.service.stop()
    running.lake.close()
    with Running(settings) as again:
        again.post({"n": 1})


def test_once_takes_in_what_is_there_and_frees_the_project(folder: Path) -> None:
    settings = project(folder, more="  files: {type: files, path: ./in/*.log, table: bronze.files, format: raw}\n")
    (folder / "in").mkdir()
    (folder / "in" / "a.log").write_text("one\ntwo\n")
    for _ in range(2):
        lake = open_lake(settings)
        metrics = run_once(lake, Log())
        lake.close()
    assert metrics.value("mulgil_delivered_rows_total", "files", "bronze.files") == 0
    assert len(numbers(settings, "bronze.files", "_position")) == 2


# What agents are told, across restarts


def test_an_agents_mark_survives_a_restart_also_for_what_is_in_the_stream_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project(folder)

    def ship(running: Running, data: bytes, offset: int) -> tuple[int, Any]:
        return running.ask(
            "POST", "/v1/logs/agent", data, mulgil_host="h", mulgil_path="/p", mulgil_generation="g",
            mulgil_offset=str(offset), mulgil_length=str(len(data)), mulgil_crc32=f"{crc32(data):x}",
        )  # fmt: skip

    with Running(settings) as running:
        assert ship(running, b"one\n", 0) == (202, {"offset": 4})
        wait_for(lambda: running.count("bronze.logs") == 1)
        monkeypatch.setattr(running.service.line.committer, "commit", _refuse)
        assert ship(running, b"two\n", 4) == (202, {"offset": 8})
    with Running(settings) as running:
        assert running.ask("GET", "/v1/logs/agent?generation=g") == (200, {"offset": 8})
        assert ship(running, b"one\ntwo\n", 0) == (202, {"offset": 8})
        assert ship(running, b"four\n", 13)[0] == 409
        assert ship(running, b"two\nthree\n", 4) == (202, {"offset": 14})
    with Running(settings) as running:
        assert running.ask("GET", "/v1/logs/agent?generation=g") == (200, {"offset": 14})
    assert len(numbers(settings, "bronze.logs", "_position")) == 3


def test_a_copy_of_a_project_does_not_change_the_first_ones_files(folder: Path, tmp_path: Path) -> None:
    with Running(project(folder)) as running:
        running.post({"n": 1})
    copied = shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(Invalid, match=r"bronze\.web lies in"):
        open_lake(load_project(copied))
