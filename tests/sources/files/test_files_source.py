"""What comes out of files: records, headers, long and multi-line ones, NULs, and files that cannot be read."""

from __future__ import annotations

import gzip
import os
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tailing import Reader, append, numbered, split

from mulgil.errors import Broken, Invalid
from mulgil.record import Mark
from mulgil.schema import Format
from mulgil.sources.files import FilesSettings


def test_a_line_waits_for_its_line_feed(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, "whole\r\nhal")
    assert reader.drain() == [b"whole"]
    assert reader.source.lag().waiting_bytes == 3
    append(log, "f\n\n\nnext\n")
    assert reader.drain() == [b"half", b"next"]
    assert reader.source.lag().waiting_bytes == 0
    assert reader.source.lag().oldest_us is None


def test_finish_takes_the_last_line_and_a_later_line_feed_adds_nothing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "one\ntwo")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"packed"))
    reader = Reader(tmp_path / "*.log*")
    reader.take()
    reader.source.finish()
    reader.take()
    assert sorted(reader.lines) == [b"one", b"packed"], "it may be half a line that is being written"
    reader.drain()
    assert sorted(reader.lines) == [b"one", b"packed", b"two"]
    append(log, "\nthree\n")
    reader.restart()
    assert reader.drain() == [b"three"]


def test_the_last_line_of_a_rotated_file_is_a_record_when_it_is_quiet(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(tmp_path / "a.log*", partial_after_s=2)
    append(log, "one\ntw")
    reader.take()
    log.rename(tmp_path / "a.log.1")
    reader.take()
    append(tmp_path / "a.log.1", "o")
    reader.take()
    assert reader.lines == [b"one"]
    reader.clock.turn(3)
    reader.take()
    assert reader.lines == [b"one", b"two"]


@pytest.mark.parametrize("down", [False, True])
def test_start_at_the_end_is_for_files_that_were_there_first(tmp_path: Path, down: bool) -> None:
    log = tmp_path / "a.log"
    append(log, numbered(0, 5) + "half a li")
    (tmp_path / "old.log.gz").write_bytes(gzip.compress(b"packed\n"))
    reader = Reader(tmp_path / "*.log*", start="end")
    reader.take(commit=False)
    reader.take()
    if down:
        reader.source.close()
    append(log, "ne\nnew\n")
    append(tmp_path / "b.log", "born later\n")
    if down:
        reader.start()
    reader.drain()
    assert sorted(reader.lines) == [b"born later", b"half a line", b"new"]


def test_what_was_not_committed_comes_again(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, numbered(0, 100))
    reader = Reader(log)
    first = reader.take(1000, commit=False)
    assert reader.take(1000, commit=False) == first
    reader.take(1000)
    second = reader.take(1000, commit=False)
    assert second == reader.take(1000)
    part = reader.blocks[0].part
    reader.drain()
    assert reader.lines == split(numbered(0, 100))
    assert {block.part for block in reader.blocks} == {part}


def test_header_is_read_in_each_file_and_is_no_record(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.csv*", format=Format("csv"))
    append(tmp_path / "a.csv", "\ufeffid,full name,\n")
    reader.take()
    append(tmp_path / "a.csv", "1,x,\n")
    reader.take()
    (tmp_path / "a.csv").rename(tmp_path / "a.csv.1")
    append(tmp_path / "a.csv", "name,id\ny,2\n")
    reader.restart()
    append(tmp_path / "a.csv.1", "3,z,\n")
    reader.drain()
    seen = {line: block.format for block in reader.blocks for line in [block.records[0]] if block.payload}
    assert seen[b"1,x,"] == seen[b"3,z,"] == Format("csv", fields=("id", "full name", "column3"))
    assert seen[b"y,2"] == Format("csv", fields=("name", "id"))
    assert len(seen) == 3


def test_header_may_be_renamed(tmp_path: Path) -> None:
    append(tmp_path / "a.tsv", "id\tname\n1\tx\n")
    reader = Reader(tmp_path / "*.tsv", format=Format("tsv", fields=("a", "b"), header=True))
    assert reader.drain() == [b"1\tx"]
    assert reader.blocks[0].format == Format("tsv", fields=("a", "b"))


def test_long_lines_are_whole_up_to_the_limit_and_the_rest_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "short\n" + "a" * 300_000 + "\n" + "b" * 900_000)
    reader = Reader(log, record_bytes_max=400_000)
    reader.drain()
    assert reader.lines == [b"short", b"a" * 300_000, b"b" * 400_000]
    append(log, "b" * 700_000 + "\nafter\n")
    reader.restart()
    reader.drain()
    assert reader.lines[3:] == [b"after"]
    assert reader.unreadable == 500_000 + 700_000 + 1


def test_multi_line_records(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    one = "2026-01-01 one\n  at a\n\n  at b\n"
    reader = Reader(log, multiline=r"\d{4}-", partial_after_s=2)
    append(log, "  a tail of something older\n" + one + "2026-01-02 two\n")
    reader.take()
    assert reader.lines == [b"  a tail of something older", one.encode().rstrip()]
    append(log, "  at c\n2026-")
    reader.take()
    assert len(reader.lines) == 2
    reader.clock.turn(3)
    reader.take()
    assert reader.lines[2:] == [b"2026-01-02 two\n  at c"]
    append(log, "01-03 three\n")
    reader.restart()
    reader.drain()
    assert reader.lines[3:] == [b"2026-01-03 three"]


def test_a_multi_line_record_that_is_too_long_is_split_between_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    text = "START\n" + numbered(0, 5000)
    append(log, text + "START\nend\n")
    reader = Reader(log, multiline="START", record_bytes_max=70_000)
    reader.drain()
    assert b"\n".join(reader.lines) + b"\n" == (text + "START\nend\n").encode()
    assert max(map(len, reader.lines)) <= 70_000


def test_nuls_that_a_crash_or_a_truncation_leaves_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, b"one\n" + bytes(5000))
    reader = Reader(log)
    assert reader.drain() == [b"one"]
    assert reader.unreadable == 0
    append(log, b"two\nthr\0ee\n")
    assert reader.drain() == [b"two", b"thr\0ee"]
    assert reader.unreadable == 5000


def test_a_writer_that_does_not_append_leaves_a_hole_behind_a_truncation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    with log.open("wb", buffering=0) as writer:
        writer.write(numbered(0, 100).encode())
        reader.drain()
        os.truncate(log, 0)
        writer.write(numbered(100, 1).encode())
        reader.drain()
    assert reader.lines == split(numbered(0, 101))
    assert reader.unreadable == 4000


def test_what_is_no_file_is_refused_and_folders_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "folder.log").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.log"))
        append(tmp_path / "a.log", "x\n")
        reader = Reader(tmp_path / "*.log")
        assert reader.drain() == [b"x"]
        assert {Path(path).name: what for path, what, _ in reader.source.problems()} == {
            "fifo.log": "is a FIFO, not a file",
            "s.log": "is a socket, not a file",
        }


def test_a_file_without_permission_is_a_problem_until_it_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path / "a.log", "x\n")
    append(tmp_path / "b.log", "y\n")
    really = os.open

    def refuse(path: str, flags: int, *more: int) -> int:  # root may read everything, so chmod proves nothing
        if str(path).endswith("a.log"):
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *more)

    reader = Reader(tmp_path / "*.log")
    monkeypatch.setattr(os, "open", refuse)
    assert reader.drain() == [b"y"]
    (problem,) = reader.source.problems()
    assert "Permission denied" in problem[1]
    monkeypatch.setattr(os, "open", really)
    assert reader.drain() == [b"x"]
    assert reader.source.problems() == []


def test_globs(tmp_path: Path) -> None:
    for name in ("a.log", "b.txt", "sub/c.log", "sub/deep/d.log", ".hidden.log", "sub/skip.log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        append(path, name + "\n")
    assert Reader(tmp_path / "*.log").drain() == [b"a.log"]
    assert sorted(Reader(tmp_path / "*.{log,txt}").drain()) == [b"a.log", b"b.txt"]
    assert sorted(Reader(tmp_path / "**" / "*.log", exclude=("skip*",)).drain()) == [
        b"a.log",
        b"sub/c.log",
        b"sub/deep/d.log",
    ]
    assert sorted(Reader(tmp_path / "s?b" / "**").drain()) == [b"sub/c.log", b"sub/deep/d.log", b"sub/skip.log"]
    assert Reader(tmp_path / "[!a].log", tmp_path / "sub/c.log", tmp_path / "none/x*").drain() == [b"sub/c.log"]


def test_files_take_turns(tmp_path: Path) -> None:
    append(tmp_path / "big.log", numbered(0, 50_000))
    for name in "abc":
        append(tmp_path / f"{name}.log", numbered(0, 2000))
    reader = Reader(tmp_path / "*.log")
    reader.take(400_000)
    assert len({block.origin for block in reader.blocks}) == 4
    reader.drain()
    assert len(reader.lines) == 56_000


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_descriptors_are_bounded(tmp_path: Path) -> None:
    for number in range(40):
        append(tmp_path / f"{number}.log", numbered(0, 3))
    before = descriptors()
    reader = Reader(tmp_path / "*.log", open_max=8)
    for turn in range(3):
        for number in range(40):
            append(tmp_path / f"{number}.log", numbered(3 + turn, 1))
        reader.take()
        assert descriptors() - before <= 8
    reader.drain()
    assert len(reader.lines) == 40 * 6
    reader.source.close()
    assert descriptors() == before


def test_old_positions_of_files_that_are_gone_may_be_forgotten(tmp_path: Path) -> None:
    append(tmp_path / "a.log", "x\n")
    append(tmp_path / "b.log", "y\n")
    reader = Reader(tmp_path / "*.log", forget_after_days=7)
    reader.drain()
    gone = next(block.part for block in reader.blocks if block.origin.endswith("a.log"))
    (tmp_path / "a.log").unlink()
    reader.restart()
    reader.drain()
    assert reader.source.forgettable(reader.marks.values()) == []
    reader.clock.jump(8 * 86_400)
    assert reader.source.forgettable(reader.marks.values()) == [gone]
    reader.source.forget([gone])
    del reader.marks[gone]
    assert reader.source.forgettable(reader.marks.values()) == []
    assert reader.drain() == []


def test_a_mark_of_another_source_is_broken(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "*.log")
    with pytest.raises(Broken, match="position of shard-0"):
        reader.source.resume([Mark("shard-0", 5)])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"paths": ()}, "no file"),
        ({"multiline": "("}, "regular expression"),
        ({"start": "middle"}, "beginning or end"),
        ({"record_bytes_max": 0}, "at least 1"),
        ({"settle_s": -1}, "negative"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        FilesSettings(**{"name": "x", "paths": ("/a",), **wrong})  # type: ignore[arg-type]


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.sampled_from(["a", "S1\n", "\n", "\r\n", "xyz\n", "S", "\0", "é"]), max_size=40).map("".join),
    steps=st.lists(st.integers(1, 9), max_size=12),
    multi=st.booleans(),
)
def test_any_way_of_writing_gives_the_same_records(tmp_path: Path, text: str, steps: list[int], multi: bool) -> None:
    log = tmp_path / "a.log"
    log.unlink(missing_ok=True)
    reader = Reader(log, **({"multiline": "S"} if multi else {}))
    data = text.encode()
    for step in [*steps, len(data)]:
        append(log, data[:step])
        data = data[step:]
        reader.take(7)
        reader.restart()
    reader.drain(0)
    reader.source.finish()
    reader.drain()
    reader.source.close()
    lines = [line.removesuffix(b"\r") for line in text.encode().split(b"\n")]
    if multi:
        assert b"".join(reader.lines).replace(b"\r", b"").replace(b"\n", b"") == b"".join(lines).replace(b"\r", b"")
    else:
        assert reader.lines == [line for line in lines if line]


def test_ten_thousand_files(tmp_path: Path) -> None:
    for number in range(10_000):
        if number < 20:
            (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number % 20}" / f"{number}.log").write_bytes(b"the same first line\n%d\n" % number)
    reader = Reader(tmp_path / "*" / "*.log")
    assert len(reader.take(1 << 30)) == 20_000
    append(tmp_path / "7" / "7.log", "new\n")
    reader.clock.turn(100)
    assert reader.take() == [b"new"]
    reader.restart()
    append(tmp_path / "8" / "8.log", "newer\n")
    assert reader.take() == [b"newer"]
    reader.source.close()


def test_an_idle_file_takes_little_memory(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number}.log").write_bytes(b"%d\n" % number + b"x" * 3000 + b"\n")
    reader = Reader(tmp_path / "*.log", open_max=4)
    tracemalloc.start()
    blocks = reader.source.poll(1 << 30)
    reader.source.committed([block.mark for block in blocks])
    assert len(blocks) == 500
    del blocks
    reader.clock.turn(100)
    reader.source.poll(1)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    reader.source.close()
    assert held / 500 < 1500
