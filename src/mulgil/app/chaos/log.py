"""A program that writes a log, and a logrotate that is in a hurry: by rename, create, copytruncate and gzip.

Nothing is lost by the writer's own doing: a rotated file stays, as a whole or compressed, and between the copy and the
truncation of a copytruncate nothing is written. So every line has to arrive exactly once.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
from itertools import count
from pathlib import Path
from random import Random

from mulgil.app.chaos.books import Books, is_bad, record_of, text_of
from mulgil.app.chaos.plan import LogPlan, Rotation
from mulgil.clock import Clock

BANNER = json.dumps({"n": -1, "text": "the log is opened", "at": "2026-01-01T00:00:00+00:00"}).encode() + b"\n"
PAUSES_S = (0.0, 0.01, 0.03, 0.06)


class LogWriter(threading.Thread):
    """Writes `<name>.log` in a folder until it is told to stop; whole lines then."""

    def __init__(self, folder: Path, number: int, plan: LogPlan, random: Random, books: Books, clock: Clock) -> None:
        super().__init__(name=f"log-{number}", daemon=True)
        self.rotations = 0
        self.failed: OSError | None = None
        self._path = folder / f"app{number}.log"
        self._plan = plan
        self._random = random
        self._books = books
        self._clock = clock
        self._numbers = count(number * 1_000_000_000)
        self._made = count(1)
        self._stopping = threading.Event()
        self._rotate_at_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def stop(self) -> None:
        """Finish the line under way, and end."""
        self._stopping.set()

    def run(self) -> None:
        """The thread."""
        try:
            self._file = self._create(self._path)
            self._plan_rotation()
            while not self._stopping.is_set():
                self._write(self._random.randint(1, self._plan.lines_max))
                if self._clock.monotonic_s() >= self._rotate_at_s:
                    self._rotate(self._random.choice(self._plan.rotations))
                    self.rotations += 1
                    self._plan_rotation()
                self._clock.wait(self._stopping, self._random.choice(PAUSES_S))
            self._write(1)  # so that no file ends as its banner alone, which a longer file could be a copy of
            os.close(self._file)
        except OSError as error:
            self.failed = error

    def _plan_rotation(self) -> None:
        self._rotate_at_s = self._clock.monotonic_s() + self._random.expovariate(1 / self._plan.rotate_s)

    def _write(self, lines: int) -> None:
        """Some lines, at once or in two writes that part a line."""
        numbers = [next(self._numbers) for _ in range(lines)]
        text = b"".join(map(line_of, numbers))
        if self._random.random() < 0.1:
            text = b"\n" + text  # an empty line is no record
        cut = self._random.randrange(len(text)) if self._random.random() < 0.3 else len(text)
        self._put(self._file, text[:cut])
        if cut < len(text):
            self._clock.wait(self._stopping, self._random.choice(PAUSES_S))
            self._put(self._file, text[cut:])
        self._books.acknowledged(range(numbers[0], numbers[-1] + 1))

    def _put(self, file: int, data: bytes) -> None:
        self._books.wrote(len(data))
        while data:
            data = data[os.write(file, data) :]

    def _create(self, path: Path) -> int:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._head()
        if self._plan.banner:
            self._put(file, BANNER)
            self._books.banners += 1
        return file

    def _head(self) -> None:
        """A moment in which the new file is there and empty."""
        self._clock.wait(self._stopping, self._random.choice(PAUSES_S))

    def _rotate(self, way: Rotation) -> None:
        if way == "create":  # a file with a name of its own, as programs do that put the date into it
            os.close(self._file)
            self._file = self._create(self._path.with_name(f"{self._path.stem}-{next(self._made):05d}.log"))
            return
        base = self._newest()
        self._shift(base)
        first = base.with_name(f"{base.name}.1")
        if way == "copytruncate":
            shutil.copyfile(base, first)
            os.truncate(base, 0)
            if self._plan.banner:
                self._put(self._file, BANNER)
                self._books.banners += 1
            return
        base.rename(first)
        if self._random.random() < 0.5:  # the program goes on in the renamed file until it is told of the rename
            self._clock.wait(self._stopping, self._random.choice(PAUSES_S))
            self._write(self._random.randint(1, self._plan.lines_max))
        os.close(self._file)
        self._file = self._create(base)
        if way == "gzip":
            self._pack(first)

    def _newest(self) -> Path:
        """The file that is written now."""
        return Path(f"/proc/self/fd/{self._file}").readlink()

    def _shift(self, base: Path) -> None:
        """log.2 becomes log.3 and so on, compressed or not."""
        old = {}
        for path in base.parent.glob(f"{base.name}.*"):
            old[int(path.name.removeprefix(f"{base.name}.").removesuffix(".gz"))] = path
        for number, path in sorted(old.items(), reverse=True):
            path.rename(base.with_name(f"{base.name}.{number + 1}" + (".gz" if path.suffix == ".gz" else "")))

    def _pack(self, path: Path) -> None:
        """As gzip does: beside it, then the original is deleted."""
        packed = path.with_name(f"{path.name}.gz")
        with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as file:
            shutil.copyfileobj(plain, file)
        stat = path.stat()
        os.utime(packed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        path.unlink()


def line_of(number: int) -> bytes:
    """The line of a number, with its line feed."""
    if is_bad(number):
        return f"no JSON {number} {text_of(number)[:24]}\n".encode()
    return json.dumps(record_of(number, event_id=False), separators=(",", ":")).encode() + b"\n"
