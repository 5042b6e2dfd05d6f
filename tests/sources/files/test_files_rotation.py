"""Every way a log is rotated, live and while the source was down: each line once."""

from __future__ import annotations

import bz2
import gzip
import os
import shutil
from pathlib import Path

import pytest
import zstandard
from tailing import Reader, append, numbered, split

from mulgil.sources.files.identity import birth_ns

RESTART = pytest.mark.parametrize("down", [False, True], ids=["live", "while_down"])


def absent(reader: Reader, down: bool) -> None:
    if down:
        reader.source.close()


def back(reader: Reader, down: bool) -> None:
    if down:
        reader.start()


@RESTART
@pytest.mark.parametrize("inside_glob", [True, False])
@pytest.mark.parametrize("lines", [3, 500])
def test_rename_and_create(tmp_path: Path, down: bool, inside_glob: bool, lines: int) -> None:
    log = tmp_path / "access.log"
    reader = Reader(tmp_path / ("access.log*" if inside_glob else "access.log"))
    append(log, numbered(0, lines))
    reader.take()
    absent(reader, down)
    append(log, numbered(lines, lines))
    log.rename(tmp_path / "access.log.1")
    append(tmp_path / "access.log.1", numbered(2 * lines, lines))  # the writer has not reopened yet
    append(log, numbered(3 * lines, lines))
    back(reader, down)
    reader.drain()
    append(tmp_path / "access.log.1", numbered(4 * lines, 1))
    (tmp_path / "access.log.1").rename(tmp_path / "access.log.2")
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 4 * lines + 1))
    assert reader.unreadable == 0


@RESTART
@pytest.mark.parametrize("lines", [3, 500])
def test_copytruncate_whose_copy_is_found(tmp_path: Path, down: bool, lines: int) -> None:
    log = tmp_path / "access.log"
    reader = Reader(tmp_path / "access.log*")
    append(log, numbered(0, lines))
    reader.take()
    absent(reader, down)
    append(log, numbered(lines, lines))
    shutil.copy(log, tmp_path / "access.log.1")
    os.truncate(log, 0)
    append(log, numbered(2 * lines, 5 * lines))  # longer than before: the size alone says nothing
    back(reader, down)
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 7 * lines))
    assert reader.unreadable == 0


@RESTART
def test_copytruncate_whose_copy_is_outside_the_glob(tmp_path: Path, down: bool) -> None:
    log = tmp_path / "access.log"
    reader = Reader(log)
    append(log, numbered(0, 300))
    reader.take()
    absent(reader, down)
    append(log, numbered(300, 20))
    shutil.copy(log, tmp_path / "access.log.1")
    os.truncate(log, 0)
    append(log, numbered(320, 7))
    back(reader, down)
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 327))
    assert reader.unreadable == 0


def test_a_copy_seen_before_its_truncation_is_not_read_twice(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    reader = Reader(tmp_path / "access.log*")
    append(log, numbered(0, 300))
    reader.take()
    shutil.copy(log, tmp_path / "access.log.1")
    reader.take()
    append(log, numbered(300, 5))  # after the copy: only in the log itself
    reader.take()
    os.truncate(log, 0)
    append(log, numbered(305, 5))
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 310))


@RESTART
def test_truncation_without_a_copy_is_counted(tmp_path: Path, down: bool) -> None:
    log = tmp_path / "access.log"
    reader = Reader(log)
    append(log, numbered(0, 100))
    assert len(reader.take(1000)) > 0
    reader.restart() if down else None
    assert reader.source.lag().waiting_bytes + sum(len(line) + 1 for line in reader.lines) == 4000 or down
    absent(reader, down)
    os.truncate(log, 0)
    append(log, numbered(200, 3))
    back(reader, down)
    reader.drain()
    read = sum(len(line) + 1 for line in reader.lines)
    assert reader.lines[-3:] == split(numbered(200, 3))
    assert reader.unreadable == 4000 - (read - 120)
    before = reader.unreadable
    reader.restart()
    reader.drain()
    assert reader.unreadable == before


def test_truncated_and_written_to_the_same_size(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, numbered(0, 50))
    reader.drain()
    os.truncate(log, 0)
    append(log, numbered(50, 50))
    os.utime(log, (1, 1))
    reader.drain()
    assert reader.lines == split(numbered(0, 100))


@RESTART
@pytest.mark.parametrize("lines", [3, 400])
@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed_while_behind(tmp_path: Path, down: bool, lines: int, suffix: str) -> None:
    log = tmp_path / "access.log"
    reader = Reader(tmp_path / "access.log*", open_max=1)
    append(tmp_path / "other.log", "x\n")
    append(log, numbered(0, lines))
    reader.take()
    absent(reader, down)
    append(log, numbered(lines, lines))
    content = log.read_bytes()
    log.unlink()
    packed = {
        "gz": gzip.compress(content[:100]) + gzip.compress(content[100:]),
        "bz2": bz2.compress(content),
        "zst": zstandard.ZstdCompressor().compress(content),
    }[suffix]
    (tmp_path / f"access.log.1.{suffix}").write_bytes(packed)
    append(log, numbered(2 * lines, lines))
    back(reader, down)
    reader.drain()
    (tmp_path / f"access.log.1.{suffix}").rename(tmp_path / f"access.log.2.{suffix}")
    reader.restart()
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 3 * lines))
    assert reader.unreadable == 0


def test_compressed_beside_its_original_and_kept(tmp_path: Path) -> None:
    log = tmp_path / "access.log.1"
    reader = Reader(tmp_path / "access.log*")
    append(log, numbered(0, 400))
    reader.take()
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    reader.drain()
    reader.restart()
    reader.drain()
    log.unlink()
    reader.drain()
    reader.restart()
    reader.drain()
    assert reader.lines == split(numbered(0, 400))


def test_a_compressed_file_is_read_from_its_start_once_it_rests(tmp_path: Path) -> None:
    packed = gzip.compress(numbered(0, 1000).encode()[:-1])
    reader = Reader(tmp_path / "*.gz")
    (tmp_path / "old.gz").write_bytes(packed[: len(packed) // 2])
    assert reader.take() == []
    (tmp_path / "old.gz").write_bytes(packed)
    assert reader.take() == []
    reader.drain()
    assert reader.lines == split(numbered(0, 1000))
    assert reader.source.lag().waiting_bytes == 0


def test_a_damaged_compressed_file_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "bad.gz").write_bytes(b"this is not gzip")
    half = gzip.compress(numbered(0, 1000).encode())
    (tmp_path / "half.gz").write_bytes(half[: len(half) // 2])
    append(tmp_path / "good.log", numbered(5000, 2))
    reader = Reader(tmp_path / "*")
    reader.drain()
    assert set(split(numbered(5000, 2))) <= set(reader.lines)
    problems = {Path(path).name: what for path, what, _ in reader.source.problems()}
    assert "not whole gzip" in problems["bad.gz"]
    assert "ends in the middle" in problems["half.gz"]


def test_deleted_while_open_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, numbered(0, 2000))
    reader.take(1000)
    with log.open("ab") as writer:
        log.unlink()
        writer.write(numbered(2000, 10).encode())
        writer.flush()
        reader.take(1000, commit=False)
        reader.drain()
        writer.write(b"the end, without a line feed")
        writer.flush()
        reader.drain()
    assert reader.lines == [*split(numbered(0, 2010)), b"the end, without a line feed"]
    reader.clock.turn(120)
    reader.take()
    reader.take()
    assert reader.unreadable == 0


@RESTART
def test_deleted_with_unread_bytes_is_counted(tmp_path: Path, down: bool) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, numbered(0, 100))
    reader.take(1000, commit=True)
    reader.restart()
    if not down:
        reader.source.close()
        reader.start()
    log.unlink()
    reader.drain()
    assert reader.unreadable + sum(len(line) + 1 for line in reader.lines) == 4000


def test_replaced_while_down_by_a_file_of_the_same_size(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, numbered(0, 100))
    reader.drain()
    reader.source.close()
    log.unlink()
    append(log, numbered(100, 100))
    reader.start()
    reader.drain()
    assert reader.lines == split(numbered(0, 200))
    assert reader.unreadable == 0


def test_an_inode_used_again_is_told_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tracker", "reader"):
        monkeypatch.setattr(f"mulgil.sources.files.{module}.birth_ns", lambda target: 0)
    log = tmp_path / "a.log"
    reader = Reader(tmp_path / "*.log")
    append(log, "the same first line\n" + numbered(0, 100))
    reader.drain()
    reader.source.close()
    log.write_text("the same first line\n" + numbered(100, 200))  # the same inode, as if it had been given out again
    reader.start()
    reader.drain()
    assert reader.lines.count(b"the same first line") == 2
    assert [line for line in reader.lines if b"same" not in line] == split(numbered(0, 300))


@pytest.mark.parametrize("filler", ["", numbered(0, 60)])
def test_identical_beginnings_do_not_confuse(tmp_path: Path, filler: str) -> None:
    reader = Reader(tmp_path / "*.log")
    for name in ("a", "b", "c"):
        append(tmp_path / f"{name}.log", "started\n" + filler)
        reader.drain()
    for name in ("a", "b", "c"):
        append(tmp_path / f"{name}.log", f"from {name}\n")
    reader.restart()
    reader.drain()
    assert reader.lines.count(b"started") == 3
    assert {b"from a", b"from b", b"from c"} <= set(reader.lines)


def test_deleted_and_born_again_with_the_same_short_first_line(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reader = Reader(log)
    append(log, "started\n")
    reader.drain()
    reader.source.close()
    other = tmp_path / "other"
    append(other, "started\n")
    other.replace(log)
    reader.start()
    reader.drain()
    assert reader.lines == [b"started", b"started"]


def test_an_inode_used_again_for_the_same_bytes_is_told_by_its_birth(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, "started\n")
    if not birth_ns(str(log)):
        pytest.skip("this file system keeps no birth times")
    reader = Reader(log)
    reader.drain()
    reader.source.close()
    inode = log.stat().st_ino
    log.unlink()
    for number in range(100):
        append(log, "started\n")
        if log.stat().st_ino == inode:
            break
        log.rename(tmp_path / f"taken.{number}")
    else:
        pytest.skip("this file system does not give the inode out again")
    reader.start()
    reader.drain()
    assert reader.lines == [b"started", b"started"]


def test_moved_to_another_file_system_is_known_by_content(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    reader = Reader(tmp_path / "*" / "access.log")
    append(first / "access.log", numbered(0, 300))
    reader.drain()
    reader.source.close()
    shutil.copy(first / "access.log", second / "access.log")
    (first / "access.log").unlink()
    append(second / "access.log", numbered(300, 3))
    reader.start()
    reader.drain()
    assert reader.lines == split(numbered(0, 303))


def test_links_count_once(tmp_path: Path) -> None:
    append(tmp_path / "real.log", numbered(0, 10))
    os.link(tmp_path / "real.log", tmp_path / "hard.log")
    (tmp_path / "soft.log").symlink_to(tmp_path / "real.log")
    (tmp_path / "nowhere.log").symlink_to(tmp_path / "missing")
    reader = Reader(tmp_path / "*.log")
    reader.drain()
    assert reader.lines == split(numbered(0, 10))


def test_a_link_that_is_turned_to_the_next_file(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    append(real / "app-1.log", numbered(0, 10))
    link = tmp_path / "current.log"
    link.symlink_to(real / "app-1.log")
    reader = Reader(link)
    reader.take()
    append(real / "app-1.log", numbered(10, 10))
    append(real / "app-2.log", numbered(20, 10))
    link.unlink()
    link.symlink_to(real / "app-2.log")
    reader.drain()
    assert sorted(reader.lines) == split(numbered(0, 30))
