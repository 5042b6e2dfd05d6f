"""What the tests of delivery share: a line in small (real state, real tables, a stream in memory), and failpoints."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from mulgil import table
from mulgil.catalog import Catalog, quarantine_of
from mulgil.clock import TurnedClock
from mulgil.delivery import Committer, DeliverySettings, Flow, Seen, Target, declare, ledger, quarantine
from mulgil.errors import Retry
from mulgil.sources import StreamSource
from mulgil.state import Database, Epoch, Transaction
from mulgil.storage import LocalStore
from mulgil.storage.store import Data
from mulgil.stream import Appended, MemoryStream, StreamSettings
from mulgil.telemetry import Log, Metrics

SETTINGS = DeliverySettings(visible_ms=0)


class Failpoints:
    """Decides, by a seed, which call fails and whether its act has happened by then."""

    def __init__(self, seed: int = 0, rate: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.rate = rate
        self.failed = 0

    def before(self, what: str) -> None:
        self._maybe(f"before {what}")

    def after(self, what: str) -> None:
        self._maybe(f"after {what}")

    def _maybe(self, where: str) -> None:
        if self.rate and self.random.random() < self.rate:
            self.failed += 1
            raise Retry("a failpoint", where=where, after_s=0.0)


class FailingStore:
    """A local store whose acts may fail. Deletions do not: what they leave behind is counted by the tests."""

    def __init__(self, failpoints: Failpoints) -> None:
        self._store = LocalStore()
        self._at = failpoints

    def put(self, path: str, data: Data) -> None:
        self._at.before("put")
        self._store.put(path, data)
        self._at.after("put")

    def put_all(self, files: Sequence[tuple[str, Data]]) -> None:
        self._at.before("put_all")
        for path, data in files:
            self._store.put(path, data)
            self._at.after("put_all")

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        self._at.before("open_write")
        with io.BytesIO() as file:
            yield file
            self._store.put(path, file.getvalue())
        self._at.after("open_write")

    def get(self, path: str) -> bytes:
        self._at.before("get")
        return self._store.get(path)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        self._at.before("read_range")
        return self._store.read_range(path, start, length)

    def size(self, path: str) -> int:
        return self._store.size(path)

    def exists(self, path: str) -> bool:
        return self._store.exists(path)

    def delete(self, path: str) -> None:
        self._store.delete(path)

    def list(self, prefix: str) -> Iterator[str]:
        return self._store.list(prefix)


class FailingDatabase(Database):
    """A state whose transactions may fail before they begin, before they commit, or after."""

    def __init__(self, path: Path, failpoints: Failpoints) -> None:
        super().__init__(path)
        self._at = failpoints

    def transaction(self) -> AbstractContextManager[Transaction]:
        return self._failing()

    @contextmanager
    def _failing(self) -> Iterator[Transaction]:
        self._at.before("transaction")
        with super().transaction() as transaction:
            yield transaction
            self._at.before("commit")
        self._at.after("commit")


class SmallLine:
    """One source, one table, one process; `restart` is what a crash and a new start are for what lies on the disk."""

    def __init__(
        self,
        folder: Path,
        target: Target | None = None,
        *,
        source: str = "web",
        shards: int = 1,
        failpoints: Failpoints | None = None,
        clock: TurnedClock | None = None,
        table_settings: table.TableSettings | None = None,
    ) -> None:
        self.folder = folder
        self.target = target or Target("bronze.web", event_id="event_id")
        self.source = source
        self.failpoints = failpoints or Failpoints()
        self.clock = clock or TurnedClock()
        self.table_settings = table_settings or table.TableSettings()
        self.stream = MemoryStream(StreamSettings(shards=shards), self.clock)
        self.metrics = Metrics()
        self.lines = io.StringIO()
        self.start()

    def start(self) -> None:
        self.database: Database = FailingDatabase(self.folder / "state.db", self.failpoints)
        self.store = FailingStore(self.failpoints)
        self.catalog = Catalog(self.database, self.store, str(self.folder / "lake"))
        self.catalog.declare()
        declare(self.database)
        rate, self.failpoints.rate = self.failpoints.rate, 0.0
        self.epoch = Epoch.take(self.database, f"delivery-{self.source}")
        self.seen = self.new_seen()
        self.failpoints.rate = rate
        self.flow = Flow(
            self.new_source(),
            self.target,
            catalog=self.catalog,
            database=self.database,
            committer=Committer(self.database, self.catalog, self.epoch, self.table_settings, self.clock),
            seen=self.seen if self.target.event_id else None,
            settings=SETTINGS,
            clock=self.clock,
            metrics=self.metrics,
            log=Log(self.lines, self.clock),
        )

    def new_source(self) -> Any:
        return StreamSource(self.source, self.stream)

    def new_seen(self) -> Seen:
        folder = self.folder / "seen" / self.source
        return Seen(self.database, LocalStore(), folder, self.source, self.target.remember_days)

    def restart(self) -> None:
        self.database.close()
        self.start()

    def close(self) -> None:
        self.database.close()

    def post(self, *events: dict[str, Any] | bytes, key: str = "", shard: int = 0) -> Appended:
        """One request: its records become durable in the stream."""
        lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in events]
        answers: list[Any] = []
        payload = b"".join(line + b"\n" for line in lines)
        self.stream.append(payload, len(lines), shard=shard, key=key, done=answers.append)
        assert isinstance(answers[0], Appended)
        return answers[0]

    def deliver(self) -> None:
        while self.flow.step(flush=True):
            pass

    def deliver_somehow(self, tries: int = 10_000) -> None:
        """Through all failures, restarting now and then."""
        for _ in range(tries):
            try:
                if not self.flow.step(flush=True):
                    return
            except Retry:
                if self.failpoints.random.random() < 0.2:
                    self.restart()
        raise AssertionError("it never ends")

    def rows(self, name: str = "", columns: Sequence[str] | None = None) -> pa.Table:
        found = self.catalog.find(name or self.target.table)
        return pa.table({}) if found is None else table.scan(LocalStore(), found, columns)

    def numbers(self, column: str = "n") -> list[Any]:
        return sorted(self.rows(columns=[column])[column].to_pylist())

    def quarantined(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.rows(quarantine_of(self.target.table)).to_pylist()
        return rows

    def booked(self) -> ledger.Entry:
        """The sum of the books of this line's source."""
        total = ledger.Entry()
        for source, _, _, entry in ledger.read(self.database):
            if source == self.source:
                total.add(entry)
        return total

    def differences(self) -> list[str]:
        counts = {name: one.record_count for name, one in self.catalog.load_all(self.catalog.names()).items()}
        kept = {name: quarantine_of(name) for _, name, *_ in ledger.read(self.database)}
        return [one.what for one in ledger.check(self.database, counts, kept)]

    def redrive(self, *, seen: Seen | None = None, target: Target | None = None) -> tuple[int, int, int]:
        """Moved, dropped as known, left."""
        target = target or self.target
        one = quarantine.redrive(
            target.table,
            {self.source: target},
            lake=self.catalog,
            database=self.database,
            settings=self.table_settings,
            clock=self.clock,
            seen={self.source: seen or self.new_seen()} if target.event_id else {},
        )
        return one.moved, one.deduplicated, one.left

    def strays(self) -> list[str]:
        """Files in the lake that no table, no snapshot and no garbage list names."""
        with self.database.read() as read:
            named = {path for (path,) in read.execute("SELECT path FROM table_garbage")}
        for one in self.catalog.load_all(self.catalog.names()).values():
            named |= {str(one.metadata_location), *(log["metadata-file"] for log in one.metadata["metadata-log"])}
            named |= {snapshot["manifest-list"] for snapshot in one.metadata["snapshots"]}
            named |= {manifest.path for manifest in one.manifests()} | {file.path for file in one.files()}
        there = [str(path) for path in (self.folder / "lake").rglob("*") if path.is_file()]
        return [
            path for path in there if path.removeprefix("file://") not in {one.removeprefix("file://") for one in named}
        ]


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e-{number:08d}", "n": number, "event_time": "2026-11-22T10:00:00Z", **more}
