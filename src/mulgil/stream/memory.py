"""The stream in memory: a true implementation that forgets everything when it is closed, for tests and simulations.

An append is durable, and answered, before `append` returns, unless the simulation holds the disk back.
"""

from __future__ import annotations

import threading
from bisect import bisect_right

from mulgil.clock import Clock
from mulgil.errors import Missing, MulgilError, Overloaded, Retry
from mulgil.stream.frame import Run, check_run, coalesce, entries_of
from mulgil.stream.group import answer_all
from mulgil.stream.log import HOUR_US, shard_of
from mulgil.stream.readers import Checkpoints, Readers
from mulgil.stream.settings import StreamSettings
from mulgil.stream.stream import Appended, Done, Frame, Gap, Notify


class MemoryStream:
    """`Stream` without a disk. Its own three methods `hold`, `release` and `fail` let a simulation be the disk."""

    def __init__(self, settings: StreamSettings, clock: Clock, *, readers: Checkpoints | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._readers = Readers(readers or {})
        self._lock = threading.RLock()
        self._frames: list[list[Frame]] = [[] for _ in range(settings.shards)]
        self._ends = [0] * settings.shards
        self._waiting: list[list[Run]] = [[] for _ in range(settings.shards)]
        self._held = False
        self._closed = False

    def append(
        self,
        payload: bytes,
        count: int,
        *,
        shard: int = 0,
        key: str = "",
        meta: bytes = b"",
        done: Done,
        notify: Notify | None = None,
    ) -> None:
        """As `Stream.append`."""
        check_run(payload, count, key, meta)
        with self._lock:
            if self._closed:
                raise Retry("the stream is closed", where="stream")
            waiting = self._waiting[self._known(shard)]
            size = sum(len(run.payload) for run in waiting)
            if waiting and size + len(payload) > self.settings.waiting_bytes_max:
                raise Overloaded(f"{size} bytes wait for the disk", where="stream", after_s=0.5)
            waiting.append(Run(payload, count, key, meta, done, notify))
            if self._held:
                return
        self._commit(shard)

    def hold(self) -> None:
        """From now on appends wait, as for a slow disk."""
        with self._lock:
            self._held = True

    def release(self) -> None:
        """Everything that waits becomes durable, as one group per shard, and appends wait no more."""
        with self._lock:
            self._held = False
        for shard in range(len(self._waiting)):
            self._commit(shard)

    def fail(self, error: MulgilError) -> None:
        """Everything that waits fails with this answer, as on a failing disk."""
        for shard in range(len(self._waiting)):
            with self._lock:
                runs, self._waiting[shard] = self._waiting[shard], []
            answer_all(runs, [error] * len(runs))

    def read(self, shard: int, sequence: int, bytes_max: int) -> list[Frame]:
        """As `Stream.read`."""
        with self._lock:
            frames = self._frames[self._known(shard)]
            if sequence >= self._ends[shard]:
                return []
            if sequence < self.starts()[shard]:
                raise Missing(f"sequence number {sequence} is not kept any more", where=f"shard {shard}")
            first = bisect_right(frames, sequence, key=lambda frame: frame.first) - 1
            last, size = first, 0
            while last < len(frames) and (last == first or size + len(frames[last].payload) <= bytes_max):
                size += len(frames[last].payload)
                last += 1
            return frames[first:last]

    def ends(self) -> list[int]:
        """As `Stream.ends`."""
        with self._lock:
            return list(self._ends)

    def starts(self) -> list[int]:
        """As `Stream.starts`."""
        with self._lock:
            return [frames[0].first if frames else end for frames, end in zip(self._frames, self._ends, strict=True)]

    def shard_for(self, key: str) -> int:
        """As `Stream.shard_for`."""
        return shard_of(key, self.settings.shards)

    def checkpoint(self, reader: str, shard: int, sequence: int) -> None:
        """As `Stream.checkpoint`."""
        self._readers.checkpoint(reader, self._known(shard), sequence)

    def forget(self, reader: str) -> None:
        """As `Stream.forget`."""
        self._readers.forget(reader)

    def trim(self, now_us: int) -> int:
        """As `Stream.trim`, frame by frame."""
        before_us = now_us - int(self.settings.retention_hours * HOUR_US)
        most = self.settings.retention_bytes
        freed = 0
        with self._lock:
            size = self.size_bytes()
            while (oldest := self._oldest()) is not None and (
                oldest.appended_us < before_us or (most is not None and size - freed > most)
            ):
                del self._frames[oldest.shard][0]
                freed += len(oldest.payload)
        return freed

    def size_bytes(self) -> int:
        """As `Stream.size_bytes`."""
        with self._lock:
            return sum(len(frame.payload) for frames in self._frames for frame in frames)

    def gaps(self) -> list[Gap]:
        """As `Stream.gaps`: memory is never damaged."""
        return []

    def close(self) -> None:
        """As `Stream.close`."""
        with self._lock:
            self._closed = True
        self.release()

    def _commit(self, shard: int) -> None:
        with self._lock:
            runs, self._waiting[shard] = self._waiting[shard], []
            answers = []
            for part in coalesce(runs, self.settings.frame_bytes_max):
                first = self._ends[shard]
                for run in part:
                    answers.append(Appended(shard, self._ends[shard], run.records))
                    self._ends[shard] += run.records
                payload = b"".join([run.payload for run in part])
                count = self._ends[shard] - first
                self._frames[shard].append(
                    Frame(shard, first, count, payload, self._clock.now_us(), tuple(entries_of(part)))
                )
        answer_all(runs, answers)

    def _oldest(self) -> Frame | None:
        """The oldest frame that every reader has read."""
        candidates = []
        for shard, frames in enumerate(self._frames):
            needed = self._readers.slowest(shard)
            if frames and (needed is None or frames[0].first + frames[0].count <= needed):
                candidates.append(frames[0])
        return min(candidates, key=lambda frame: frame.appended_us, default=None)

    def _known(self, shard: int) -> int:
        if not 0 <= shard < len(self._frames):
            raise Missing(f"no shard {shard}", where="stream", hint=f"there are {len(self._frames)}, from 0")
        return shard
