"""What the embedded stream acknowledges a second, beside a peer that writes and syncs every append by itself.

    python -m benchmarks.stream_append [--seconds 3] [--folder DIR]

Two loads: *batches*, 32 producers of 500 records of 300 bytes each, every producer waiting for its answer; *singles*,
one event loop that hands in single records of 300 bytes, 256 of them waiting at a time (`notify` wakes it up once a
group). Wall and CPU seconds are of this process, producers included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulgil.clock import SystemClock
from mulgil.stream import Answer, Appended, Done, EmbeddedStream, Notify, StreamSettings

LINE = b'{"event_id":"0190f3a2-7c1e-7b7a-9d5e-3f1f0c9b2a11","event":"page_view","clinic":4711,"path":"/clinics/4711"'
RECORD = LINE + b',"agent":"' + b"x" * (300 - len(LINE) - 13) + b'"}\n'
RECORDS = 500
PRODUCERS = 32
IN_FLIGHT = 256

ROUNDS = 3

Append = Callable[[bytes, int, Done, Notify | None], None]


class NaiveLog:
    """The peer: one file, and for each append a write and a sync, one after the other."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self._lock = threading.Lock()
        self._end = 0

    def append(self, payload: bytes, count: int, done: Done, notify: Notify | None) -> None:
        with self._lock:
            os.write(self._file, payload)
            os.fdatasync(self._file)
            answer = Appended(0, self._end, count)
            self._end += count
        if notify is None:
            done(answer)
        else:
            notify([(done, answer)])

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Result:
    records: int
    payload_bytes: int
    wall_s: float
    cpu_s: float
    latencies_s: list[float]

    def line(self, name: str) -> str:
        ordered = sorted(self.latencies_s)
        p50, p99 = (ordered[int(len(ordered) * part)] * 1000 for part in (0.5, 0.99))
        return (
            f"{name:<22} {self.records / self.wall_s:>10,.0f} {self.payload_bytes / self.wall_s / 1e6:>8.1f}"
            f" {self.cpu_s:>7.2f} {self.cpu_s / self.records * 1e6:>9.2f} {p50:>8.2f} {p99:>8.2f}"
        )


Load = Callable[[Append, float], Result]


def batches(append: Append, seconds: float) -> Result:
    """Threads that each wait for their answer."""
    payload = RECORD * RECORDS
    latencies: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()

    def produce() -> None:
        answered = threading.Semaphore(0)

        def done(answer: Answer) -> None:
            assert isinstance(answer, Appended), answer
            answered.release()

        while time.perf_counter() - wall < seconds:
            start = time.perf_counter()
            append(payload, RECORDS, done, None)
            answered.acquire()
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=produce) for _ in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = len(latencies)
    return Result(
        count * RECORDS,
        count * len(payload),
        time.perf_counter() - wall,
        time.process_time() - cpu,
        latencies,
    )


def singles(append: Append, seconds: float) -> Result:
    """One event loop, as the collector has it."""
    latencies: list[float] = []

    async def produce_all() -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(IN_FLIGHT)

        def answer_all(answers: Sequence[tuple[Done, Answer]]) -> None:
            for done, answer in answers:
                done(answer)

        def notify(answers: Sequence[tuple[Done, Answer]]) -> None:
            loop.call_soon_threadsafe(answer_all, answers)

        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await room.acquire()
            start = time.perf_counter()

            def done(answer: Answer, start: float = start) -> None:
                assert isinstance(answer, Appended), answer
                latencies.append(time.perf_counter() - start)
                room.release()

            append(RECORD, 1, done, notify)
        for _ in range(IN_FLIGHT):
            await room.acquire()

    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(produce_all())
    count = len(latencies)
    return Result(count, count * len(RECORD), time.perf_counter() - wall, time.process_time() - cpu, latencies)


def append_cost_us(folder: Path) -> float:
    """What one call of `append` costs its caller, the writer's thread busy beside it."""
    stream = EmbeddedStream(folder, StreamSettings(), SystemClock())
    number = 50_000
    answered = threading.Semaphore(0)

    def done(answer: Answer) -> None:
        answered.release()

    cpu = time.thread_time()
    for _ in range(number):
        stream.append(RECORD, 1, done=done)
    cpu = time.thread_time() - cpu
    for _ in range(number):
        answered.acquire()
    stream.close()
    return cpu / number * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure; a folder in it is used")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stream-append-", dir=options.folder))
    print(f"{'':<22} {'records/s':>10} {'MB/s':>8} {'CPU s':>7} {'µs/record':>9} {'p50 ms':>8} {'p99 ms':>8}")
    try:
        for name, load in (("batches", batches), ("singles", singles)):
            faster = []
            for _ in range(ROUNDS):
                peer = run_naive(folder / "peer.log", load, options.seconds)
                ours = run_stream(folder / "stream", load, options.seconds)
                print(peer.line(f"{name}, sync each"))
                print(ours.line(f"{name}, stream"))
                faster.append((ours.records / ours.wall_s) / (peer.records / peer.wall_s))
            print(f"{name}: {statistics.median(faster):.2f} times the peer's records (median of {ROUNDS} rounds)")
        print(f"one append() call: {append_cost_us(folder / 'stream'):.1f} µs of its caller's CPU")
    finally:
        shutil.rmtree(folder)


def run_naive(path: Path, load: Load, seconds: float) -> Result:
    """One round of the peer; the file is deleted, so that both find the same free memory."""
    naive = NaiveLog(path)
    result = load(naive.append, seconds)
    naive.close()
    path.unlink()
    return result


def run_stream(folder: Path, load: Load, seconds: float) -> Result:
    """One round of the stream; every record that was acknowledged is read back and counted."""
    stream = EmbeddedStream(folder, StreamSettings(), SystemClock())

    def append(payload: bytes, count: int, done: Done, notify: Notify | None) -> None:
        stream.append(payload, count, done=done, notify=notify)

    result = load(append, seconds)
    read = 0
    while frames := stream.read(0, read, 8 * 1024 * 1024):
        read = frames[-1].first + frames[-1].count
    assert read == result.records
    assert stream.gaps() == []
    stream.close()
    shutil.rmtree(folder)
    return result


if __name__ == "__main__":
    main()
