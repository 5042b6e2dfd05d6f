"""A whole project in one process, on real files, with a state and a store that break at a chosen step.

A step is a place between two changes of what is on the disk: before and after each file, before a transaction begins,
before it commits, after it has. `Breaker` counts them. At the chosen one it either crashes (from then on nothing that
the old objects do has any effect, as after a kill, and the world is built anew from the disk) or raises `Retry` once,
as a full disk does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from mulgil import delivery, table
from mulgil.app.books import balance
from mulgil.app.lake import Lake
from mulgil.app.settings import load_project
from mulgil.app.wiring import Line
from mulgil.catalog import Care, Catalog, quarantine_of
from mulgil.clock import TurnedClock
from mulgil.errors import Retry
from mulgil.state import Database, Transaction
from mulgil.storage import LocalStore
from mulgil.storage.store import Data
from mulgil.telemetry import Log, Metrics

PROJECT = """\
stream: {path: ./stream, shards: 2}
delivery: {visible_ms: 50, snapshots: 2}
limits: {disk_free_mb: 0}
sources:
  web: {type: http, table: bronze.web, time: at}
  app: {type: files, path: logs/app.log*, format: json, table: bronze.app, time: at}
"""


class Crash(BaseException):
    """The process ends here. Nothing may catch it."""


class Breaker:
    """Counts steps, and breaks at one of them."""

    def __init__(self, at: int = 0, how: str = "crash") -> None:
        """`at` 0: never."""
        self.steps: list[str] = []
        self.dead = False
        self._at = at
        self._how = how

    def step(self, what: str) -> None:
        if self.dead:
            raise Crash
        self.steps.append(what)
        if len(self.steps) != self._at:
            return
        if self._how == "crash":
            self.dead = True
            raise Crash
        raise Retry("a broken step", where=what, after_s=0.0)

    def alive(self) -> None:
        if self.dead:
            raise Crash


class BreakingStore(LocalStore):
    """The local folder; files of one `put_all` break one by one."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def put(self, path: str, data: Data) -> None:
        self.put_all([(path, data)])

    def put_all(self, files: Sequence[tuple[str, Data]]) -> None:
        for path, data in files:
            self._breaker.step(f"before put {kind(path)}")
            super().put(path, data)
        self._breaker.step("after put")

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        self._breaker.step(f"before write {kind(path)}")
        with super().open_write(path) as file:
            yield file
        self._breaker.step("after write")

    def delete(self, path: str) -> None:
        self._breaker.step(f"before delete {kind(path)}")
        super().delete(path)

    def get(self, path: str) -> bytes:
        self._breaker.alive()
        return super().get(path)


class BreakingDatabase(Database):
    """SQLite; what breaks before the commit is rolled back, as by the next who opens the file."""

    def __init__(self, path: Path, breaker: Breaker) -> None:
        super().__init__(path)
        self._breaker = breaker

    def transaction(self) -> AbstractContextManager[Transaction]:
        return self._breaking()

    def read(self) -> AbstractContextManager[Transaction]:
        self._breaker.alive()
        return super().read()

    @contextmanager
    def _breaking(self) -> Iterator[Transaction]:
        self._breaker.step("before begin")
        with super().transaction() as transaction:
            yield transaction
            self._breaker.step("before commit")
        self._breaker.step("after commit")


class World:
    """The project, and everybody's memory of what they did."""

    def __init__(self, folder: Path, breaker: Breaker, *later: Breaker) -> None:
        """`later`: what breaks after the first crash, the second, and so on."""
        self.folder = folder
        self.breaker = breaker
        self.later = list(later)
        self.clock = TurnedClock()
        self.crashes = 0
        self.sent: set[int] = set()
        self.written: list[int] = []
        self.kept: list[bytes] = []
        (folder / "logs").mkdir()
        (folder / "mulgil.yaml").write_text(PROJECT)
        self.project = load_project(folder)
        self.lake: Lake | None = None
        self.line: Line | None = None

    # -- what the world does by itself: never breaks ------------------------------------------------------------------

    def post(self, *numbers: int, key: str = "", shard: int = 0, event_id: bool = True, **more: object) -> None:
        """A request that is acknowledged."""
        events = [
            {"n": one, "at": "2026-01-01T00:00:00Z", **({"event_id": f"e{one}"} if event_id else {}), **more}
            for one in numbers
        ]
        payload = b"".join(json.dumps(one).encode() + b"\n" for one in events)
        answers: list[object] = []
        stream = self.opened().streams["web"]
        stream.append(payload, len(events), shard=shard, key=key, done=answers.append)
        while not answers:
            pass
        self.sent.update(numbers)

    def write(self, *numbers: int, bad: int = 0, name: str = "app.log", **more: object) -> None:
        """Lines in a log; `bad` of them are no JSON."""
        with (self.folder / "logs" / name).open("ab") as file:
            for one in numbers:
                file.write(json.dumps({"n": one, "at": "2026-01-02T00:00:00Z", **more}).encode() + b"\n")
            for one in range(bad):
                line = f"bad {len(self.kept) + one}".encode()
                file.write(line + b"\n")
        self.written += numbers
        self.kept += [f"bad {len(self.kept) + one}".encode() for one in range(bad)]

    def rotate(self, *, copy: bool = False) -> None:
        log = self.folder / "logs" / "app.log"
        old = log.with_name("app.log.1")
        if old.exists():
            old.rename(log.with_name("app.log.2"))
        if copy:
            old.write_bytes(log.read_bytes())
            with log.open("r+b") as file:
                file.truncate()
        else:
            log.rename(old)

    # -- what the line does: breaks -----------------------------------------------------------------------------------

    def opened(self) -> Line:
        """The line, built from the disk where there is none."""
        if self.line is None:
            project = self.project
            database = BreakingDatabase(project.state, self.breaker)
            tables = Catalog(database, BreakingStore(self.breaker), str(project.lake))
            tables.declare()
            delivery.declare(database)
            settings = table.TableSettings(compact_fan_in=2, snapshots_max=2, snapshots_recent=1, manifest_fan_in=2)
            self.lake = Lake(project, self.clock, database, tables, settings)
            self.line = Line(self.lake, Metrics(), Log(io.StringIO(), self.clock))
        return self.line

    def open_first(self) -> None:
        self.opened()

    def deliver(self) -> None:
        for flow in self.opened().flows.values():
            for _ in range(3):
                flow.step(flush=True)
                self.clock.turn(3)

    def care(self) -> None:
        """All compaction there is, and everything swept that nobody sees."""
        lake = self.opened().lake
        care = Care(
            lake.catalog, lake.database, lake.table_settings, self.clock, grace_s=0, fence=self.opened().epoch.check
        )
        for name in lake.catalog.names():
            while care.step(name) is not None:
                self.clock.turn(1)

    def restart(self) -> None:
        self.close()
        self.opened()

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
        if self.lake is not None:
            self.lake.database.close()
        self.line = self.lake = None

    def survive(self, act: Callable[[], None]) -> None:
        """Do it, through a crash or a failure, until it is done."""
        while True:
            try:
                act()
            except Crash:
                self.crashes += 1
                self.close()
                self.breaker = self.later.pop(0) if self.later else Breaker()
            except Retry:
                self.crashes += 1
            else:
                return

    def play(self) -> list[str]:
        """The whole story; the steps that it took."""
        first = self.breaker
        for act in self.story():
            self.survive(act)
        self.survive(self.deliver)
        return first.steps

    def story(self) -> Iterator[Callable[[], None]]:
        yield self.open_first
        self.post(1, 2, 3, amount=1)
        self.write(101, 102, bad=1)
        yield self.deliver
        self.post(4, 5, key="k1", event_id=False, amount=2)
        self.post(2, 6, shard=1)  # 2 is there already
        self.write(103)
        self.rotate()
        self.write(104, place="a")
        yield self.deliver
        yield self.care
        self.post(4, 5, key="k1", event_id=False, amount=2)  # sent again under its key
        self.post(7, 7, 8, shard=1, amount=1.5, more="x")
        self.rotate(copy=True)
        self.write(105, 106, bad=1)
        yield self.deliver
        yield self.care
        self.post(9, amount="much")
        self.post(1, 3)
        yield self.restart
        yield self.deliver
        yield self.care

    # -- the verdict --------------------------------------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """What is not as it has to be."""
        lake = self.opened().lake
        found = []
        web, app = self._rows("bronze.web"), self._rows("bronze.app")
        if sorted(row["n"] for row in web) != sorted(self.sent):
            found.append(f"events: {sorted(row['n'] for row in web)}, sent {sorted(self.sent)}")
        if sorted(row["n"] for row in app) != sorted(self.written):
            found.append(f"lines: {sorted(row['n'] for row in app)}, written {sorted(self.written)}")
        kept = sorted(row["raw"] for row in self._rows(quarantine_of("bronze.app")))
        if kept != sorted(self.kept):
            found.append(f"in quarantine: {kept}, written {sorted(self.kept)}")
        found += [str(one) for one in balance(lake)]
        for source, _, _, entry in delivery.ledger.read(lake.database):
            if entry.bytes_unreadable:
                found.append(f"{entry.bytes_unreadable} bytes of {source} unreadable")
        return found

    def _rows(self, name: str) -> list[dict[str, object]]:
        lake = self.opened().lake
        kept = lake.catalog.find(name)
        return [] if kept is None else table.scan(LocalStore(), kept).to_pylist()


def kind(path: str) -> str:
    """data, manifest or metadata"""
    if path.endswith(".parquet"):
        return "data"
    return "metadata" if path.endswith(".json") else "manifest"
