"""Programs that begin every log with the same line: what looks like a copy at first is told apart as it grows."""

from __future__ import annotations

import gzip
from pathlib import Path

from tailing import Reader, append, split

BANNER = "the log is opened\n"


def test_a_compressed_log_is_read_once_the_live_one_goes_another_way(tmp_path: Path) -> None:
    append(tmp_path / "app.log", BANNER)
    reader = Reader(tmp_path / "app.log*")
    reader.drain()
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(f"{BANNER}old 1\nold 2\n".encode()))
    reader.drain()
    append(tmp_path / "app.log", "new 1\n" + "x" * 2000 + "\n")
    reader.drain()
    assert sorted(reader.lines) == sorted(split(f"{BANNER}{BANNER}old 1\nold 2\nnew 1\n{'x' * 2000}\n"))
    assert reader.unreadable == 0


def test_a_compressed_copy_of_a_short_log_is_not_read_when_the_log_goes_on(tmp_path: Path) -> None:
    append(tmp_path / "app.log", BANNER)
    reader = Reader(tmp_path / "app.log*")
    reader.drain()
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(BANNER.encode()))
    reader.drain()
    append(tmp_path / "app.log", "new 1\n")
    reader.drain()
    assert reader.lines == split(f"{BANNER}new 1\n")
