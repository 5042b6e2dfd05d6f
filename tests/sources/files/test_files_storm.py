"""Rotation storms: seeded writers rotate in every way while the source polls, fails and restarts. Every line once."""

from __future__ import annotations

import bz2
import gzip
import os
import random
import shutil
from pathlib import Path

import pytest
from tailing import Reader


class Storm:
    """Writes numbered lines into some logs and rotates them; knows what it wrote."""

    def __init__(self, folder: Path, seed: int, *, lossy: bool) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.lossy = lossy
        self.logs = [folder / f"{name}.log" for name in ("a", "b", "app-1")]
        self.number = 0
        self.written: list[bytes] = []
        self.expected_loss = 0
        self.reader = Reader(folder / "*.log*", open_max=self.random.choice([1, 2, 256]), settle_s=1)

    def write(self) -> None:
        log = self.random.choice(self.logs)
        lines = []
        if self.random.random() < 0.1 and not log.exists():
            lines.append(b"banner " + b"=" * 1500)
        for _ in range(self.random.choice([1, 3, 40, 200])):
            self.number += 1
            lines.append(b"%s %d %s" % (log.name.encode(), self.number, b"y" * self.random.randrange(60)))
        self.written += lines
        with log.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def shift(self, log: Path) -> Path:
        """Make room: log.1 becomes log.2 and so on; what is older than three is deleted only once it was read."""
        rotated = sorted(self.folder.glob(f"{log.name}.*"), key=lambda path: -int(path.name.split(".")[2]))
        for path in rotated:
            pieces = path.name.split(".")
            pieces[2] = str(int(pieces[2]) + 1)
            path.rename(self.folder / ".".join(pieces))
        return self.folder / f"{log.name}.1"

    def rotate(self) -> None:
        log = self.random.choice(self.logs)
        if not log.exists() or log.stat().st_size == 0:
            return
        kind = self.random.choice(["rename", "rename", "copytruncate", "gzip", "delete_old", "truncate"])
        if kind == "rename":
            log.rename(self.shift(log))
        elif kind == "copytruncate":
            shutil.copy(log, self.shift(log))
            os.truncate(log, 0)
        elif kind == "gzip":
            plain = [path for path in self.folder.glob(f"{log.name}.*") if path.name.split(".")[-1].isdigit()]
            if plain:
                path = self.random.choice(plain)
                packed = path.read_bytes()
                suffix, data = self.random.choice([("gz", gzip.compress(packed)), ("bz2", bz2.compress(packed))])
                (self.folder / f"{path.name}.{suffix}").write_bytes(data)
                path.unlink()
        elif kind == "delete_old":
            old = [path for path in self.folder.glob(f"{log.name}.*") if int(path.name.split(".")[2]) > 3]
            if old and self.reader.source.lag().waiting_bytes == 0:
                self.reader.drain()
                if self.reader.source.lag().waiting_bytes == 0:
                    self.random.choice(old).unlink()
        elif kind == "truncate" and self.lossy:
            self.reader.take()  # so that the size is known
            self.reader.take(1)
            os.truncate(log, 0)
            for _ in range(3):  # it is noticed before the next restart: no mark says what was never polled
                self.reader.take()
                self.reader.clock.turn(2)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            act = self.random.random()
            if act < 0.35:
                self.write()
            elif act < 0.55:
                self.rotate()
            elif act < 0.85:
                self.reader.take(self.random.choice([1, 3000, 1 << 20]), commit=self.random.random() > 0.2)
            elif act < 0.95:
                self.reader.clock.turn(self.random.choice([0.1, 2, 100]))
            else:
                self.reader.restart()
        self.reader.drain()
        self.reader.drain()
        self.reader.source.close()


def once(folder: Path, seed: int) -> None:
    storm = Storm(folder, seed, lossy=False)
    storm.run(150)
    seen, wrote = sorted(storm.reader.lines), sorted(storm.written)
    assert seen == wrote, f"seed {seed}: {len(wrote)} written, {len(seen)} seen, {len(set(seen))} different"
    assert storm.reader.unreadable == 0, f"seed {seed}"


def counted(folder: Path, seed: int) -> None:
    storm = Storm(folder, seed, lossy=True)
    storm.run(150)
    seen, wrote = storm.reader.lines, storm.written
    assert len(seen) == len(set(seen)) or any(b"banner" in line for line in seen), f"seed {seed}: doubled"
    lost = sum(len(line) + 1 for line in wrote) - sum(len(line) + 1 for line in seen)
    assert lost == storm.reader.unreadable, f"seed {seed}: {lost} bytes lost, {storm.reader.unreadable} counted"


@pytest.mark.parametrize("seed", range(25))
def test_every_line_once(tmp_path: Path, seed: int) -> None:
    once(tmp_path, seed)


@pytest.mark.parametrize("seed", range(15))
def test_what_a_truncation_took_is_counted(tmp_path: Path, seed: int) -> None:
    counted(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 500))
def test_every_line_once_many(tmp_path: Path, seed: int) -> None:
    once(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_what_a_truncation_took_is_counted_many(tmp_path: Path, seed: int) -> None:
    counted(tmp_path, seed)
