"""The contract of a stream: a durable log that makes what cannot be asked for again readable from a position.

The collector appends; delivery reads and checkpoints. Implementations: `log.EmbeddedStream` (a folder) and
`memory.MemoryStream` (tests and simulations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mulgil.errors import MulgilError


@dataclass(frozen=True, slots=True)
class Appended:
    """An append is durable: its records have the sequence numbers `first` to `first + count - 1` of the shard."""

    shard: int
    first: int
    count: int


Answer = Appended | MulgilError
"""What an append comes to. `Overloaded`: the disk is full, nothing was kept. `Retry`: the disk failed; the data is
not acknowledged, and only a crash in just this moment can bring it to light (the caller's key tells it then).
`Broken`: the shard has stopped."""

Done = Callable[[Answer], None]
Notify = Callable[[Sequence[tuple[Done, Answer]]], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One append inside a frame that came with a key or with meta."""

    first_index: int
    """Index in the frame of its first record."""
    count: int
    byte_offset: int
    """Where its bytes start in the frame's payload."""
    byte_length: int
    key: str
    meta: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Consecutive records of a shard, numbered `first` to `first + count - 1`, as the bytes that were appended."""

    shard: int
    first: int
    count: int
    payload: bytes
    """The appends' payloads in order, with nothing between them."""
    appended_us: int
    """When it was written, microseconds since 1970."""
    entries: tuple[Entry, ...]
    """Those appends in this frame that came with a key or meta, in order; the others have none."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A damaged place: records that were acknowledged and cannot be read again."""

    shard: int
    file: str
    byte_first: int
    byte_end: int
    """First byte after the damage."""
    first: int
    """First sequence number that is lost."""
    end: int
    """First sequence number after those lost; equal to `first` where only unused bytes are damaged."""


class Stream(Protocol):
    """A durable log of records in shards. Every method may be called from any thread.

    Sequence numbers of a shard start at 0, have no holes and are never given twice.
    """

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
        """Hand in `count` records, 1 or more, in `payload`; every record ends with its line feed.

        Does not block. `done` is called exactly once, after the records are on the disk for good or it is certain
        that they are not; appends of one thread to one shard are numbered in the order in which they were handed in.
        `done` runs in the stream's own thread, maybe before `append` has returned: it must be short and must not
        raise. With `notify`, the stream calls `notify([(done, answer), …])` once for all appends of a group that
        came with that same `notify`, and leaves it to it to call each `done`: an event loop is woken up once a group
        (`notify=lambda answers: loop.call_soon_threadsafe(answer_all, answers)`).

        A key of up to 1,024 characters (an idempotency key) and up to 1 MiB of meta come back in the frame's
        entries. Raises `Overloaded` when too much waits or the disk is nearly full, `Invalid` for an empty or too
        large payload, key, meta or a count that cannot be, `Missing` for an unknown shard, `Retry` when the stream is
        closed, `Broken` when the shard has stopped. When it raises, `done` is never called.
        """
        ...

    def read(self, shard: int, sequence: int, bytes_max: int) -> list[Frame]:
        """Durable frames in order, beginning with the one that contains `sequence`.

        That frame may begin earlier than `sequence`: the caller skips what it has. Where the records at `sequence`
        are damaged, the first frame after the gap comes first, so it may begin later too; each next frame begins
        where the last one ended, or after a gap. About `bytes_max` bytes, but never fewer than one frame while there
        is one; empty only at the end. Raises `Missing` when `sequence` was trimmed away or the shard is unknown,
        `Retry` when the disk fails to read.
        """
        ...

    def ends(self) -> list[int]:
        """Per shard, the sequence number that the next durable record will have, or a reader at the end stands at."""
        ...

    def starts(self) -> list[int]:
        """Per shard, the first sequence number that can be read."""
        ...

    def shard_for(self, key: str) -> int:
        """The shard of a partition key: the same in every process, as long as the settings' `shards` is."""
        ...

    def checkpoint(self, reader: str, shard: int, sequence: int) -> None:
        """The reader needs nothing of the shard before `sequence` any more. Registers the reader where it is new.

        A reader holds the whole of every shard of which it has said nothing yet. Checkpoints are kept in memory: the
        reader stores its own and they are handed in again when the stream is opened.
        """
        ...

    def forget(self, reader: str) -> None:
        """The reader does not come back: retention does not wait for it any more."""
        ...

    def trim(self, now_us: int) -> int:
        """Delete what retention allows: old or too much, and read by every registered reader; the bytes freed."""
        ...

    def size_bytes(self) -> int:
        """Bytes of all frames that are kept."""
        ...

    def gaps(self) -> list[Gap]:
        """Damage found since the stream was opened: in each shard's tail at once, elsewhere when it is read."""
        ...

    def close(self) -> None:
        """Write what waits, answer it, and give everything back. Closing twice is harmless."""
        ...
