"""A segment: one append-only file of a shard, its frames found, read, and recovered after a crash.

The file `<first sequence number, 20 digits>.seg` begins with 64 bytes (little-endian: magic "MgSg", CRC-32 of bytes 8
to 63, version, 4 zero bytes, base sequence number, identity, creation in microseconds since 1970, zeros); frames
follow without space between them. A segment ends where the next one begins, whatever lies behind; the last one ends
after its last whole frame. What follows is zeros that were set aside, a tail mark, or the torn end of a write.

`shard.py` writes segments; this module reads them.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

from mulgil.ids import new_uuid
from mulgil.stream import frame
from mulgil.stream.frame import HEADER_BYTES, Header
from mulgil.stream.stream import Frame, Gap

MAGIC = b"MgSg"
VERSION = 1
START = 64
"""Where a segment's first frame lies."""

_HEADER = struct.Struct("<4sIIIQQQ24x")
_CHECKED_FROM = 8
_INDEX_BYTES = 64 * 1024
_SEARCH_BYTES = 1024 * 1024
_HINTS = 8


class Window:
    """The part of a file that is in memory, moved on as the file is read."""

    def __init__(self, file: int, end: int, read_bytes: int) -> None:
        self.file = file
        self.end = end
        self.read_bytes = read_bytes
        self.data = b""
        self.start = 0

    def load(self, position: int, length: int) -> int | None:
        """Have `length` bytes at `position`: their offset in `data`, or None where the file ends before."""
        if position + length > self.end:
            return None
        if not self.holds(position, length):
            self.data = os.pread(self.file, max(length, min(self.read_bytes, self.end - position)), position)
            self.start = position
            if len(self.data) < length:
                return None
        return position - self.start

    def holds(self, position: int, length: int) -> bool:
        """Whether these bytes are in memory already."""
        return self.start <= position and position + length <= self.start + len(self.data)


@dataclass(slots=True)
class Tail:
    """What the last segment of a shard holds after a crash."""

    end: int
    """The next sequence number."""
    position: int
    """Where the next frame is written; what lies behind is a tail mark or torn."""
    gaps: list[Gap] = field(default_factory=list)


class Segment:
    """One segment file, by name; its handle is lent by the caller. Safe to read from many threads."""

    def __init__(self, shard: int, path: Path, base: int, size: int) -> None:
        self.shard = shard
        self.path = path
        self.base = base
        self.size = size
        """Bytes used; the shard keeps it up to date while it writes."""
        self.end_us: int | None = None
        """When the next segment was created, once known: every record here is older."""
        self._identity: int | None = None
        self._index = [(base, START)]  # (sequence number, position) of some frames, in order
        self._hints: tuple[tuple[int, int], ...] = ()  # where readers stopped

    def initialise(self, file: int, now_us: int) -> None:
        """Write the segment's own header into a new file."""
        self._identity = int(new_uuid().replace("-", "")[:16], 16)
        checked = _HEADER.pack(MAGIC, 0, VERSION, 0, self.base, self._identity, now_us)[_CHECKED_FROM:]
        header = MAGIC + crc32(checked).to_bytes(4, "little") + checked
        os.pwrite(file, header, 0)
        self.size = START

    def created_us(self, file: int) -> int | None:
        """When the segment was created, or None where its header is damaged."""
        header = os.pread(file, START, 0)
        if len(header) < START or not _header_is_valid(header):
            return None
        return int(_HEADER.unpack(header)[6])

    def identity(self, file: int) -> int | None:
        """The number that every frame of this segment carries; None where there is neither header nor frame."""
        if self._identity is None:
            header = os.pread(file, START, 0)
            if len(header) == START and _header_is_valid(header):
                self._identity = _HEADER.unpack(header)[5]
            else:  # the header is damaged: the first frame says it too
                window = Window(file, os.fstat(file).st_size, _SEARCH_BYTES)
                found = next(_headers_after(window, START, self.base, None), None)
                self._identity = found[1].identity if found else None
        return self._identity

    def note(self, sequence: int, position: int) -> None:
        """Remember where a frame begins, if no frame near it is remembered."""
        if position - self._index[-1][1] >= _INDEX_BYTES:
            insort(self._index, (sequence, position))

    def read(
        self, file: int, sequence: int, bytes_max: int, *, end: int, end_position: int
    ) -> tuple[list[Frame], list[Gap]]:
        """Frames from the one with `sequence` on, before sequence number `end` and byte `end_position`."""
        known, position = self._nearest(sequence)
        window = Window(file, end_position, bytes_max if known == sequence else _INDEX_BYTES)
        frames: list[Frame] = []
        gaps: list[Gap] = []
        taken = 0
        while known < end:
            header = self._header_at(window, position, known)
            if header is None:
                found = next(_headers_after(window, position, known, self.identity(file)), None)
                # What begins at `end` or later was written by an attempt that failed; the next segment has the right
                next_known, next_position = (found[1].first, found[0]) if found else (end, end_position)
                gaps.append(self._gap(position, next_position, known, min(next_known, end)))
                known, position = next_known, next_position
                continue
            if header.end <= sequence or not header.records:
                known, position = header.end, position + header.size
                self.note(known, position)
                continue
            window.read_bytes = bytes_max
            if frames and (taken + header.size > bytes_max or not window.holds(position, header.size)):
                break
            offset = window.load(position, header.size)
            if offset is not None and frame.body_is_whole(window.data, offset, header):
                frames.append(frame.unpack(window.data, offset, header, self.shard))
                taken += header.size
            else:
                gaps.append(self._gap(position, min(position + header.size, end_position), known, header.end))
            known, position = header.end, position + header.size
            self.note(known, position)
        self._hints = (*self._hints[1 - _HINTS :], (known, position))
        return frames, gaps

    def recover(self, file: int) -> Tail:
        """Find the end of the shard's last segment, telling a torn tail from damage.

        A place that is no valid frame had been acknowledged exactly if something valid behind it was written when
        the shard was durable beyond that place; then it is a gap, and reading goes on behind it.
        """
        window = Window(file, os.fstat(file).st_size, _SEARCH_BYTES)
        identity = self.identity(file)
        tail = Tail(self.base, START)
        known, position = self.base, START
        while True:
            header = self._header_at(window, position, known)
            if header is not None:
                offset = window.load(position, header.size)
                if offset is not None and frame.body_is_whole(window.data, offset, header):
                    known, position = header.end, position + header.size
                    if header.records:  # a tail mark is overwritten by the next frame
                        tail.end, tail.position = known, position
                        self.note(known, position)
                    continue
            behind = position if header is None else position + header.size
            found = _first_after_loss(window, behind, known, identity)
            if found is None:
                return tail
            next_position, next_header = found
            tail.gaps.append(self._gap(position, next_position, known, next_header.first))
            known, position = next_header.first, next_position
            tail.end, tail.position = known, position

    def _nearest(self, sequence: int) -> tuple[int, int]:
        """The last known frame start at or before `sequence`."""
        nearest = self._index[bisect_right(self._index, (sequence, 1 << 62)) - 1]
        return max((hint for hint in self._hints if nearest[0] <= hint[0] <= sequence), default=nearest)

    def _header_at(self, window: Window, position: int, first: int) -> Header | None:
        offset = window.load(position, HEADER_BYTES)
        if offset is None:
            return None
        header = frame.unpack_header(window.data, offset, self.identity(window.file))
        return header if header is not None and header.first == first else None

    def _gap(self, byte_first: int, byte_end: int, first: int, end: int) -> Gap:
        return Gap(self.shard, str(self.path), byte_first, byte_end, first, end)


def _header_is_valid(header: bytes) -> bool:
    magic, crc, version, *_ = _HEADER.unpack(header)
    return bool(magic == MAGIC and version == VERSION and crc == crc32(header[_CHECKED_FROM:]))


def _headers_after(window: Window, position: int, first: int, identity: int | None) -> Iterator[tuple[int, Header]]:
    """Valid frame headers at or after a position, with sequence numbers from `first` on and rising."""
    window.read_bytes = _SEARCH_BYTES
    while (offset := window.load(position, HEADER_BYTES)) is not None:
        hit = window.data.find(frame.MAGIC, offset)
        if hit < 0:
            position = window.start + len(window.data) - len(frame.MAGIC) + 1
            continue
        position = window.start + hit
        offset = window.load(position, HEADER_BYTES)
        if offset is None:
            return
        header = frame.unpack_header(window.data, offset, identity)
        if header is None or header.first < first:
            position += 1
            continue
        yield position, header
        first, position = header.end, position + header.size


def _first_after_loss(window: Window, position: int, sequence: int, identity: int | None) -> tuple[int, Header] | None:
    """The first frame behind a hole at `sequence`, if one behind it proves that the hole had been durable."""
    first: tuple[int, Header] | None = None
    for found in _headers_after(window, position, sequence, identity):
        first = first or found
        if found[1].durable > sequence:
            return first
    return None
