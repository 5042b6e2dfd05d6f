"""What travels: records in blocks, with the positions they cover, and the contract of a source.

A source (an HTTP stream, a log file, later a database's log) fills `Source`; delivery alone polls it. A position
has two halves. The *part* is one ordered run of records (a shard of a stream, one generation of a log file); the
*place* is where in it: a sequence number where the part counts records, a byte offset where it counts bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from mulgil.schema import Format

PLACE_BITS = 40
"""A row's `_position` is `part number << 40 | place`: 8 million parts of a trillion records or bytes each."""

Unit = Literal["record", "byte"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A stored position: everything of `part` before `place` is in the lake."""

    part: str
    """Name of the part, unique within its source for ever: `shard-0`, or a file generation's id."""
    place: int
    """The first place that is not yet in the lake."""
    detail: str = ""
    """JSON that the source needs to know the part again (device, inode, content hash …); opaque to others."""


class Records:
    """Records inside one buffer: record i is `data[starts[i]:ends[i]]`, its line end left out.

    `data` is any object with the buffer protocol; `starts` and `ends` are int64 arrays of one length. Blank lines are
    no records.
    """

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends

    @classmethod
    def of_lines(cls, data: bytes) -> Records:
        """Split at line feeds. A carriage return before one belongs to the line end; the last line may lack one."""
        octets = np.frombuffer(data, dtype=np.uint8)
        feeds = np.flatnonzero(octets == 10)
        starts = np.concatenate(([0], feeds + 1)).astype(np.int64)
        ends = np.concatenate((feeds, [len(data)])).astype(np.int64)
        full = ends > starts
        if full.any():
            returns = np.zeros(len(ends), dtype=bool)
            returns[full] = octets[ends[full] - 1] == 13
            ends = ends - returns
        keep = ends > starts
        if not keep.all():
            starts, ends = starts[keep], ends[keep]
        return cls(data, starts, ends)

    @classmethod
    def of_list(cls, records: Sequence[bytes]) -> Records:
        """Single records, each whole, put into one buffer."""
        lengths = np.array([len(record) for record in records], dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum(lengths + 1)[:-1])).astype(np.int64)
        return cls(b"".join(record + b"\n" for record in records), starts, starts + lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> bytes:
        return bytes(self.data[self.starts[index] : self.ends[index]])

    def take(self, index: npt.NDArray[np.int64]) -> Records:
        """The same buffer, fewer records."""
        return Records(self.data, self.starts[index], self.ends[index])


@dataclass(frozen=True, slots=True)
class Keyed:
    """A run of records inside a block that one client sent under one idempotency key."""

    key: str
    first: int
    """Index of the run's first record in the block."""
    count: int


@dataclass(frozen=True)
class Block:
    """Consecutive records of one part, as bytes that nobody has parsed yet.

    Invariants: `payload` holds whole records only; with `unit == "record"` its records are those numbered
    `place, place + 1, …`; with `unit == "byte"` its first byte lies at offset `place` of the part.
    """

    part: str
    unit: Unit
    place: int
    payload: bytes
    arrived_us: int
    """When it was accepted, microseconds since 1970: becomes `_ingested_at`."""
    mark: Mark
    """The position of `part` that is reached once this block is in the lake."""
    stream_mark: Mark | None = None
    """For a block that a remote agent put into the stream: the position of the stream's shard behind it."""
    starts: npt.NDArray[np.int64] | None = None
    """int64[n]: where each record starts in `payload`, for records that are not lines (multi-line); None: lines."""
    keys: Sequence[Keyed] = ()
    format: Format | None = None
    """The format that the sender declared; None: the source's own."""
    unreadable_bytes: int = 0
    """Bytes before this block that existed and could not be read (a copytruncate, a corrupt frame)."""
    refused: str = ""
    """Why its records cannot be delivered, whatever they hold: they go to quarantine."""
    origin: str = ""
    """Where it came from in an operator's words: a path, a host."""

    @cached_property
    def records(self) -> Records:
        """The block's records; those that `starts` cuts lose the line end at their end."""
        if self.starts is None:
            return Records.of_lines(self.payload)
        ends = np.append(self.starts[1:], len(self.payload)).astype(np.int64)
        octets = np.frombuffer(self.payload, dtype=np.uint8)
        for code in (10, 13):
            filled = ends > self.starts
            last = np.zeros(len(ends), dtype=bool)
            last[filled] = octets[ends[filled] - 1] == code
            ends = ends - last
        keep = ends > self.starts
        return Records(self.payload, self.starts[keep], ends[keep])


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a source's readers are behind it."""

    waiting_bytes: int = 0
    waiting_records: int | None = None
    """None where the source cannot know without reading (a file's lines)."""
    oldest_us: int | None = None
    """When the oldest waiting record was accepted; None where nothing waits or nobody knows."""


class Source(Protocol):
    """Something that can be asked again from a position. Used by one thread."""

    name: str

    def resume(self, marks: Sequence[Mark]) -> None:
        """Start after these positions, the last committed ones; a part without a mark starts where the settings say.

        Called once before the first poll, and again whenever delivery had to give up what it had polled.
        """
        ...

    def poll(self, bytes_max: int) -> list[Block]:
        """The blocks after the last poll's, about `bytes_max` of payload at most; empty when there is nothing new.

        Never blocks for data. A block that alone is larger than `bytes_max` comes alone.
        """
        ...

    def committed(self, marks: Sequence[Mark]) -> None:
        """These positions are in the lake: what lies before them may be forgotten."""
        ...

    def finish(self) -> None:
        """Nobody adds anything any more: what only lacks its end (a last line) counts as whole from now on."""
        ...

    def lag(self) -> Lag:
        """What waits; cheap enough to ask every second, from any thread."""
        ...

    def problems(self) -> list[tuple[str, str, str]]:
        """Files that cannot be read at present: path, what is wrong, hint. The others are read on."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that could not be decoded: its index in its `Records`, and why."""

    index: int
    reason: str


@dataclass(slots=True)
class Tally:
    """What the ledger counts of one delivery."""

    bytes_read: int = 0
    records_in: int = 0
    rows_out: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    unreadable_bytes: int = 0
