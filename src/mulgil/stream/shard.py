"""A shard: segments in a folder, appended in groups, read, recovered and trimmed.

Plain and synchronous: one thread commits (`group.py` calls `commit` and `mark_tail`), any thread reads. The rules:

- nothing is answered before it is synced, and `read` shows nothing before;
- a segment is begun only when everything before it is synced, so its name says what is durable;
- after a failed write for want of room, the torn bytes are cut off and the segment goes on;
- after any other failure of the disk nobody knows what the file holds: the shard is sealed, and goes on in a new
  segment that begins at the last durable sequence number; what the old file holds from there on no longer counts.
"""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mulgil.clock import Clock
from mulgil.errors import Broken, Missing, MulgilError, Overloaded, Retry
from mulgil.stream import frame
from mulgil.stream.frame import Run
from mulgil.stream.handles import Handles
from mulgil.stream.segment import START, Segment
from mulgil.stream.settings import StreamSettings
from mulgil.stream.stream import Answer, Appended, Frame, Gap

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BUFFERS_MAX = 1024  # IOV_MAX of Linux

Committed = tuple[Sequence[Run], Sequence[Answer]]


class Shard:
    """One ordered part of a stream, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        number: int,
        settings: StreamSettings,
        clock: Clock,
        *,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """Open or create; raises `Broken` where the disk does not allow it. `sync` is for tests of a failing disk."""
        self.number = number
        self.full = False
        """The disk had no room when last looked at."""
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._sync = sync
        self._lock = threading.Lock()  # guards _segments, _end, _position and _gaps; never held over I/O
        self._handles = Handles()
        self._gaps: dict[tuple[str, int], Gap] = {}
        self._segments: list[Segment] = []
        self._end = 0
        self._position = START
        self._group_first = 0
        self._file = -1
        self._sealed = False
        self._marked = False
        try:
            self._open()
        except OSError as error:
            if self._file >= 0:
                os.close(self._file)
            raise Broken(f"the shard cannot be opened: {error.strerror}", where=str(folder)) from error

    @property
    def start(self) -> int:
        """The first sequence number that is kept."""
        return self._segments[0].base

    @property
    def end(self) -> int:
        """The next durable sequence number."""
        return self._end

    def commit(self, runs: Sequence[Run]) -> Iterator[Committed]:
        """Make appends durable, in order; yields each part of them with its answers as soon as they are certain."""
        pending = list(frame.coalesce(runs, self._settings.frame_bytes_max))
        while pending:
            try:
                taken = self._write(pending)
            except OSError as error:
                failure = self._failed(error)
                rest = [run for runs in pending for run in runs]
                yield rest, [failure] * len(rest)
                return
            written = [run for runs in pending[:taken] for run in runs]
            del pending[:taken]
            first = self._group_first
            answers = []
            for run in written:
                answers.append(Appended(self.number, first, run.records))
                first += run.records
            yield written, answers
        self.has_room()

    def has_room(self) -> bool:
        """Whether the disk has the free space that the settings ask for; looks and remembers."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            self.full = True
        else:
            self.full = disk.f_bavail * disk.f_frsize < self._settings.disk_free_bytes_min
        return not self.full

    def mark_tail(self) -> None:
        """Say behind the last frame that it is durable, so that later damage to it is not taken for a torn write.

        Costs no space: the next frame is written over it. It need not be synced, it only strengthens recovery.
        """
        if self._marked or self._sealed:
            return
        packed = self._pack([], self._end)
        with suppress(OSError):  # no room, or a failing disk: the next commit tells
            os.pwrite(self._file, packed.buffers[0], self._position)
        self._marked = True

    def read(self, sequence: int, bytes_max: int) -> list[Frame]:
        """As `Stream.read`."""
        with self._lock:
            segments, end, end_position = self._segments, self._end, self._position
            bases = [segment.base for segment in segments[1:]]
        if sequence < segments[0].base:
            raise self._trimmed(sequence)
        at = bisect_right(bases, sequence)
        while sequence < end and at < len(segments):
            segment = segments[at]
            last = at + 1 == len(segments)
            try:
                handle = self._handles.get(segment.path)
                frames, gaps = segment.read(
                    handle.file,
                    max(sequence, segment.base),
                    bytes_max,
                    end=end if last else bases[at],
                    end_position=end_position if last else segment.size,
                )
            except FileNotFoundError:
                if segment not in self._segments:
                    raise self._trimmed(sequence) from None
                gap = Gap(self.number, str(segment.path), 0, segment.size, segment.base, end if last else bases[at])
                frames, gaps = [], [gap]
            except OSError as error:  # maybe for a moment only, so not to be skipped as damaged
                raise Retry(
                    f"the disk failed to read the stream: {error.strerror}",
                    where=str(segment.path),
                    hint="look at the disk",
                ) from error
            self._note_gaps(gaps)
            if frames:
                return frames
            at += 1
        return []

    def size_bytes(self) -> int:
        """Bytes of all segments, without what is set aside."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    def gaps(self) -> list[Gap]:
        """Damage found so far, by position."""
        with self._lock:
            return sorted(self._gaps.values(), key=lambda gap: (gap.first, gap.byte_first))

    def oldest(self, needed: int | None) -> Segment | None:
        """The oldest segment, with its `end_us`, if it may be deleted: not the last, nothing in it is `needed`."""
        with self._lock:
            if len(self._segments) < 2:
                return None
            oldest, following = self._segments[:2]
        if needed is not None and needed < following.base:
            return None
        if oldest.end_us is None:
            try:
                handle = self._handles.get(following.path)
                oldest.end_us = following.created_us(handle.file)
                if oldest.end_us is None:  # a damaged header
                    oldest.end_us = oldest.path.stat().st_mtime_ns // 1000
            except FileNotFoundError:  # somebody took the file away
                oldest.end_us = 0
        return oldest

    def delete(self, oldest: Segment) -> int:
        """Delete the first segment; the bytes freed."""
        with self._lock:
            if self._segments[0] is not oldest:  # somebody else has deleted it
                return 0
            self._segments = self._segments[1:]
            self._gaps = {key: gap for key, gap in self._gaps.items() if gap.file != str(oldest.path)}
        oldest.path.unlink(missing_ok=True)
        self._handles.drop(oldest.path)
        return oldest.size

    def close(self) -> None:
        """Leave a durable tail mark, and give the files back. Nobody may be committing."""
        if self._file >= 0:
            self._marked = False
            self.mark_tail()
            with suppress(OSError):  # everything that was answered is synced already
                os.ftruncate(self._file, self._position + frame.HEADER_BYTES)  # gives back what was set aside
                self._sync(self._file)
            os.close(self._file)
            self._file = -1
        self._handles.close()

    # Writing

    def _write(self, pending: Sequence[list[Run]]) -> int:
        """Write and sync as many frames as the segment takes, at least one; how many."""
        room = self._settings.segment_bytes - self._position
        if self._sealed or (self._position > START and _estimate(pending[0]) > room):
            self._begin_segment()
            room = self._settings.segment_bytes - self._position
        self._marked = False
        first, position, taken = self._end, self._position, 0
        buffers: list[bytes] = []
        starts = []
        for runs in pending:
            if taken and _estimate(runs) > room:
                break
            packed = self._pack(runs, first)
            buffers += packed.buffers
            starts.append((first, position))
            first += packed.records
            position += packed.size
            room -= packed.size
            taken += 1
        try:
            _write_all(self._file, buffers, self._position)
        except OSError as error:
            self._sealed = True
            if error.errno in _NO_ROOM:
                os.ftruncate(self._file, self._position)
                self._sealed = False
            raise
        try:
            self._sync(self._file)
        except OSError:
            self._sealed = True
            raise
        segment = self._segments[-1]
        for start in starts:
            segment.note(*start)
        with self._lock:
            self._group_first = self._end
            self._end, self._position, segment.size = first, position, position
        return taken

    def _failed(self, error: OSError) -> MulgilError:
        """What the producers are told."""
        where = str(self._folder)
        if error.errno in _NO_ROOM:
            self.full = True
            return Overloaded("no room to write the stream", where=where, hint="free some disk space", after_s=5.0)
        return Retry(f"the disk failed to write the stream: {error.strerror}", where=where, hint="look at the disk")

    def _begin_segment(self) -> None:
        """Go on in a new segment at the last durable sequence number; raises `OSError` and is sealed where it fails."""
        if self._segments and self._sealed:
            self._verify_tail()
        self._sealed = True  # until all is done: half a roll must not be written behind
        now_us = self._clock.now_us()
        path = self._folder / f"{self._end:020d}.seg"
        beside = path.with_suffix(".new")
        segment = Segment(self.number, path, self._end, START)
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            segment.initialise(file, now_us)
            _set_aside(file, START, self._settings.segment_bytes)
            os.fsync(file)
            beside.replace(path)  # over a segment without any durable record, where a first write failed
            _sync_folder(self._folder)
        except OSError:
            os.close(file)
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, self._position)  # gives back what was set aside; readers stop there anyway
            os.close(self._file)
        with self._lock:
            kept = self._segments
            if kept and kept[-1].base == segment.base:
                kept = kept[:-1]
                self._handles.drop(path)
            elif kept:
                kept[-1].end_us = now_us
            self._segments = [*kept, segment]
            self._position = START
        self._file = file
        self._sealed = self._marked = False

    def _verify_tail(self) -> None:
        """After a failed sync: the last group shares a disk block with what failed; read it back from the disk."""
        segment = self._segments[-1]
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        sequence = max(self._group_first, segment.base)
        while sequence < self._end:
            frames, gaps = segment.read(
                self._file, sequence, frame.HEADER_BYTES, end=self._end, end_position=self._position
            )
            self._note_gaps(gaps)
            if not frames:
                return
            sequence = frames[-1].first + frames[-1].count

    def _pack(self, runs: list[Run], first: int) -> frame.Packed:
        identity = self._segments[-1].identity(self._file)
        assert identity is not None, "a segment that is written has a header"
        return frame.pack(runs, identity=identity, first=first, durable=self._end, appended_us=self._clock.now_us())

    # Opening

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for stray in self._folder.glob("*.new"):
            stray.unlink()
        with os.scandir(self._folder) as files:
            for file in files:
                if file.name.endswith(".seg") and file.name[:-4].isdecimal():
                    path = self._folder / file.name
                    self._segments.append(Segment(self.number, path, int(path.stem), file.stat().st_size))
        self._segments.sort(key=lambda segment: segment.base)
        if not self._segments:
            self._begin_segment()
            _sync_folder(self._folder.parent)
        else:
            self._recover(self._segments[-1])
        self.has_room()

    def _recover(self, segment: Segment) -> None:
        self._file = os.open(segment.path, os.O_RDWR)
        tail = segment.recover(self._file)
        if segment.identity(self._file) is None:  # empty, and the header damaged
            segment.initialise(self._file, self._clock.now_us())
        os.ftruncate(self._file, tail.position)
        _set_aside(self._file, tail.position, self._settings.segment_bytes)
        self._end, self._position, segment.size = tail.end, tail.position, tail.position
        self._group_first = tail.end
        self._note_gaps(tail.gaps)
        self.mark_tail()
        os.fsync(self._file)  # a killed process leaves frames that were written and not yet synced

    def _note_gaps(self, gaps: Sequence[Gap]) -> None:
        if gaps:
            with self._lock:
                self._gaps |= {(gap.file, gap.byte_first): gap for gap in gaps}

    def _trimmed(self, sequence: int) -> Missing:
        return Missing(
            f"sequence number {sequence} is not kept any more",
            where=str(self._folder),
            hint=f"it begins at {self.start}; retention was shorter than the reader was away",
        )


def _estimate(runs: Sequence[Run]) -> int:
    return frame.HEADER_BYTES + sum([len(run.payload) for run in runs])


def _write_all(file: int, buffers: list[bytes], position: int) -> None:
    while buffers:
        batch = buffers[:_BUFFERS_MAX]
        written = os.pwritev(file, batch, position)
        position += written
        done = 0
        while done < len(batch) and written >= len(batch[done]):
            written -= len(batch[done])
            done += 1
        buffers = buffers[done:]
        if written:  # a short write
            buffers[0] = buffers[0][written:]


def _set_aside(file: int, position: int, size: int) -> None:
    """Allocate a file's blocks at once: later syncs are cheaper. Not every disk can, or has the room."""
    if size > position:
        try:
            os.posix_fallocate(file, position, size - position)
        except OSError:
            os.ftruncate(file, position)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
