"""A day of commits, five seconds apart, on a turned clock with real files: does the last one cost what the first did?

    python -m benchmarks.table_day_of_commits [--hours 24] [--events-per-day 25000000] [--peer 200] [--folder DIR]

Events have 15 columns and are about 300 bytes as JSON. Between commits the table is compacted and swept as `mulgil run`
does it in the background. Peer, in the same run: PyIceberg's `append()` of the same batches, its catalog in SQLite.
Takes about ten minutes for 24 hours, and two gigabytes of disk.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from mulgil import table
from mulgil.clock import TurnedClock
from mulgil.storage import LocalStore

MIDNIGHT_US = 1_763_942_400_000_000  # 2025-11-24T00:00Z
EVERY_S = 5
GRACE_S = 600
SETTINGS = table.TableSettings()


class Events:
    """Batches of events that look alike and never repeat."""

    def __init__(self, rows: int) -> None:
        chance = np.random.default_rng(20251124)
        self.rows, self._chance, self._given = rows, chance, 0

        def pick(form: str, of: int, skew: float = 1.0) -> pa.Array:
            drawn = (chance.random(rows * 16) ** skew * of).astype(np.int64)
            return pa.array([form.format(one) for one in drawn])

        self._texts = {
            "kind": pick("event_{}", 12, 2),
            "path": pick("/clinics/{}/reservations", 5_000, 2),
            "referrer": pick("https://www.example.org/campaign/{}", 300, 3),
            "user_agent": pick(
                "Mozilla/5.0 (Linux; Android 14; SM-{}) AppleWebKit/537.36 Chrome/142.0 Safari/537.36", 900, 3
            ),
            "ip": pick("203.0.{}.7", 256),
            "session_id": pick("s-{:012x}", 1 << 40),
        }

    def batch(self, now_us: int) -> pa.Table:
        """The events of the five seconds before `now_us`."""
        rows, chance = self.rows, self._chance
        ids = pa.py_buffer(chance.bytes(rows * 16).hex().encode())
        offsets = pa.py_buffer(np.arange(0, rows * 32 + 1, 32, dtype=np.int32))
        start = int(chance.integers(0, rows * 15))
        first, self._given = self._given, self._given + rows
        times = now_us - np.sort(chance.integers(0, EVERY_S * 1_000_000, rows))[::-1]
        return pa.table(
            {
                "event_time": pa.array(times, pa.timestamp("us", "UTC")),
                "event_id": pa.StringArray.from_buffers(rows, offsets, ids),
                "user_id": chance.integers(0, 2_000_000, rows),
                "clinic_id": pa.array(chance.integers(0, 5_000, rows), pa.int32()),
                **{name: column.slice(start, rows) for name, column in self._texts.items()},
                "duration_ms": pa.array(chance.integers(0, 3_000, rows), pa.int32()),
                "price": np.round(chance.random(rows) * 200_000, -2),
                "_source": pa.array(["web"]).take(pa.array(np.zeros(rows, np.int8))),
                "_position": np.arange(first, first + rows),
                "_ingested_at": pa.array(np.full(rows, now_us), pa.timestamp("us", "UTC")),
            }
        )


class Day:
    """The table, and what is done to it."""

    def __init__(self, folder: Path, events: Events) -> None:
        self.store, self.events, self.clock = LocalStore(), events, TurnedClock(MIDNIGHT_US)
        schema = events.batch(MIDNIGHT_US).schema
        new = table.new("bronze.web", f"{folder}/bronze/web", schema, partition=["day(event_time)"])
        self.garbage: list[tuple[int, table.Garbage]] = []
        self.commit_s: list[float] = []
        self.compact_s = 0.0
        self.bytes_rewritten = 0
        self.take(table.stage_append(self.store, new, [], settings=SETTINGS, now_us=MIDNIGHT_US))

    def take(self, staged: table.Staged) -> None:
        self.table = staged.table
        now_us = self.clock.now_us()
        self.garbage += [(now_us, one) for one in staged.garbage]

    def commit(self) -> None:
        now_us = self.clock.now_us()
        rows = self.events.batch(now_us - 1)
        started = time.process_time()
        files = table.write_files(self.store, self.table, rows, SETTINGS, now_us)
        self.take(table.stage_append(self.store, self.table, files, settings=SETTINGS, now_us=now_us))
        self.commit_s.append(time.process_time() - started)

    def compact(self) -> None:
        started = time.process_time()
        now_us = self.clock.now_us()
        while plans := table.plan_compaction(self.table, SETTINGS, now_us):
            added = table.rewrite(self.store, self.table, plans[0], SETTINGS)
            removed = [file.path for file in plans[0].files]
            self.take(table.stage_replace(self.store, self.table, removed, added, settings=SETTINGS, now_us=now_us))
            self.bytes_rewritten += plans[0].size_bytes
        self.compact_s += time.process_time() - started

    def sweep(self) -> None:
        before_us = self.clock.now_us() - GRACE_S * 1_000_000
        due = [one for since, one in self.garbage if since < before_us]
        free = {one.path for one in table.sweepable(due, self.table.retained_sequences)}
        for path in free:
            self.store.delete(path)
        self.garbage = [one for one in self.garbage if one[1].path not in free]


def day(folder: Path, events: Events, hours: float) -> Day:
    found = Day(folder, events)
    commits = int(hours * 3600 / EVERY_S)
    most, started = 0, time.perf_counter()
    for at in range(commits):
        found.clock.turn(EVERY_S)
        found.commit()
        most = max(most, len(found.table.snapshots()))
        if at % 4 == 3:
            found.compact()
        if at % 12 == 11:
            found.sweep()
        if at % 720 == 719:
            hour = found.commit_s[-720:]
            print(
                f"  hour {(at + 1) // 720:3d}   {1000 * sum(hour) / len(hour):6.2f} ms CPU a commit,"
                f" {len(found.table.files()):4d} live files, {time.perf_counter() - started:6.0f} s of wall time",
                flush=True,
            )  # fmt: skip
    appended = found.table.record_count
    for _ in range(120):  # the day is over: nothing is added, the rest is put together, and readers' time of grace ends
        found.clock.turn(60)
        found.compact()
        found.sweep()
    assert found.table.record_count == appended == commits * events.rows
    files = found.table.files()
    window = max(1, min(720, commits // 2))
    first, last = (1000 * sum(part) / len(part) for part in (found.commit_s[:window], found.commit_s[-window:]))
    on_disk = list(found.store.list(f"{folder}/"))
    live = {file.path for file in files}
    mean = sum(file.size_bytes for file in files) / len(files)
    print(f"commits             {commits:10,d} of {events.rows} rows")
    print(f"commit CPU          {first:10.2f} ms in the first {window} commits, {last:.2f} ms in the last")
    print(f"last to first       {last / first:10.2f} times (wanted: at most 1.5)")
    print(f"snapshots           {most:10d} at most (wanted: at most 100)")
    print(
        f"data files          {len(files):10d} of {mean / 2**20:.0f} MiB on average in the closed day (64, or one file)"
    )
    print(f"size of a row       {sum(file.size_bytes for file in files) / found.table.record_count:10.1f} bytes")
    print(f"manifests           {len(found.table.manifests()):10d}")
    print(f"files on disk       {len(on_disk):10d}, {sum(found.store.size(one) for one in on_disk) / 2**20:,.0f} MiB;"
          f" {len(live)} live, {len(found.garbage)} wait for snapshots to go")  # fmt: skip
    print(f"compaction CPU      {found.compact_s:10.1f} s, {found.bytes_rewritten / 2**20:,.0f} MiB read")
    print(f"peak memory         {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:10.0f} MB")
    return found


def peer(folder: Path, events: Events, commits: int, ours_s: list[float]) -> None:
    """PyIceberg's own append of the same kind of batches, into a table without partitions."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("peer", uri=f"sqlite:///{folder}/peer.db", warehouse=str(folder))
    catalog.create_namespace("bronze")
    theirs = catalog.create_table(
        "bronze.web", events.batch(MIDNIGHT_US).schema
    )  # partitions would need one more wheel
    spent: list[float] = []
    for at in range(commits):
        rows = events.batch(MIDNIGHT_US + (at + 1) * EVERY_S * 1_000_000 - 1)
        spent.append(cpu_of(lambda rows=rows: theirs.append(rows)))  # type: ignore[misc]
    ten = max(1, commits // 10)
    first, last = (1000 * sum(part) / len(part) for part in (spent[:ten], spent[-ten:]))
    mine = 1000 * sum(ours_s[commits - ten : commits]) / ten
    print(f"PyIceberg append    {first:10.2f} ms CPU in the first {ten} commits, {last:.2f} ms after {commits - ten}")
    print(f"to ours             {last / mine:10.1f} times the CPU after {commits - ten} commits ({mine:.2f} ms)")


def cpu_of(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--events-per-day", type=int, default=25_000_000)
    parser.add_argument("--peer", type=int, default=200, help="commits of the peer; 0: none")
    parser.add_argument("--folder", type=Path, help="where to write; kept afterwards")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", module="pyiceberg")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mulgil-day-"))
    try:
        events = Events(round(chosen.events_per_day * EVERY_S / 86_400))
        done = day(folder, events, chosen.hours)
        if chosen.peer:
            peer(folder, events, min(chosen.peer, len(done.commit_s)), done.commit_s)
    finally:
        if not chosen.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
