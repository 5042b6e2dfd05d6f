"""The embedded stream as a folder: one process, shards, reopening, a full disk."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Broken, Conflict, Missing, Overloaded
from mulgil.stream import Answer, Appended, EmbeddedStream, StreamSettings


def open_stream(folder: Path, readers: dict[str, dict[int, int]] | None = None, **settings: Any) -> EmbeddedStream:
    settings = {"disk_free_bytes_min": 0, "segment_bytes": 65536} | settings
    return EmbeddedStream(folder / "stream", StreamSettings(**settings), TurnedClock(), readers=readers)


def put(stream: EmbeddedStream, payload: bytes, **more: Any) -> Answer:
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    stream.append(payload, payload.count(b"\n"), done=answers.put, **more)
    return answers.get(timeout=30)


def put_until_refused(stream: EmbeddedStream) -> None:
    while True:  # it looks at the disk after each group
        put(stream, b"b\n")


def open_files(folder: Path) -> int:
    """How many files of the folder this process has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            names.append(str(link.readlink()))
    return sum(name.startswith(str(folder)) for name in names)


def test_a_second_opener_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    stream = open_stream(tmp_path)
    with pytest.raises(Conflict, match=f"process {os.getpid()} has the stream open"):
        open_stream(tmp_path)
    code = (
        "import sys; from pathlib import Path; from mulgil.clock import SystemClock\n"
        "from mulgil.stream import *; from mulgil.errors import Conflict\n"
        "try: EmbeddedStream(Path(sys.argv[1]), StreamSettings(), SystemClock())\n"
        "except Conflict as error: print(error.what)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "stream")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == f"process {os.getpid()} has the stream open"
    stream.close()
    open_stream(tmp_path).close()


def test_the_folder_is_given_back_when_opening_fails(tmp_path: Path) -> None:
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "shard-00000").write_text("in the way")
    for _ in range(2):
        with pytest.raises(Broken):
            open_stream(tmp_path)
    (tmp_path / "stream" / "shard-00000").unlink()
    open_stream(tmp_path).close()
    with pytest.raises(Broken):
        open_stream(tmp_path / "stream" / "lock")


def test_reopened_it_goes_on_where_it_was(tmp_path: Path) -> None:
    for opening in range(4):
        stream = open_stream(tmp_path, shards=2)
        assert stream.ends() == [2 * opening, opening]
        put(stream, b"a\nb\n")
        put(stream, b"c\n", shard=1, key="k")
        stream.close()
    stream = open_stream(tmp_path, shards=2)
    assert [entry.key for frame in stream.read(1, 0, 1000) for entry in frame.entries] == ["k"] * 4
    stream.close()


def test_shards_may_grow_and_shrink_and_stay_readable(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, shards=3)
    put(stream, b"a\n", shard=2)
    stream.close()
    stream = open_stream(tmp_path, shards=1)
    assert stream.ends() == [0, 0, 1]
    assert {stream.shard_for(str(i)) for i in range(50)} == {0}
    assert stream.read(2, 0, 100)[0].payload == b"a\n"
    stream.close()
    stream = open_stream(tmp_path, shards=4)
    assert stream.ends() == [0, 0, 1, 0]
    stream.close()


def test_a_disk_that_is_nearly_full_refuses_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(tmp_path, disk_free_bytes_min=1_000_000)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:4], 10, *real[5:])))
    assert real.f_frsize * 10 < 1_000_000
    with pytest.raises(Overloaded, match="nearly full"):
        put_until_refused(stream)
    monkeypatch.undo()
    assert isinstance(put(stream, b"c\n"), Appended)
    stream.close()


def test_trimming_while_reading_gives_frames_or_missing(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, retention_bytes=0)
    for _ in range(10):
        put(stream, b"x" * 40_000 + b"\n")
    assert stream.read(0, 3, 1)[0].first == 3
    assert stream.trim(0) > 9 * 40_000
    assert stream.starts() == [9]
    with pytest.raises(Missing, match="not kept any more"):
        stream.read(0, 3, 1)
    assert len(list((tmp_path / "stream" / "shard-00000").glob("*.seg"))) == 1
    stream.close()


def test_the_age_of_a_segment_is_known_after_reopening(tmp_path: Path) -> None:
    clock = TurnedClock()
    settings = StreamSettings(disk_free_bytes_min=0, segment_bytes=65536, retention_hours=5)
    for _ in range(10):
        stream = EmbeddedStream(tmp_path / "stream", settings, clock)
        put(stream, b"x" * 40_000 + b"\n")
        stream.close()
        clock.turn(3600)
    stream = EmbeddedStream(tmp_path / "stream", settings, clock)
    assert stream.trim(clock.now_us()) > 0
    assert stream.starts() == [4]  # its last record is 6 hours old, but the next segment was begun 5 hours ago
    stream.close()


def test_open_files_are_bounded(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, segment_bytes=4096)
    for _ in range(60):
        put(stream, b"x" * 4000 + b"\n")
    for sequence in range(60):
        assert stream.read(0, sequence, 1)[0].first == sequence
    assert 1 < open_files(tmp_path) <= 12
    stream.close()
    assert open_files(tmp_path) == 0
