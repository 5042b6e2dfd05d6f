"""The embedded stream: a durable log in a local folder, for one process.

<folder>/lock                                  who has it open
<folder>/shard-00000/00000000000000000000.seg  segments, named by their first sequence number
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from mulgil.clock import Clock
from mulgil.errors import Broken, Conflict, Missing
from mulgil.stream.frame import Run, check_run
from mulgil.stream.group import GroupCommit
from mulgil.stream.readers import Checkpoints, Readers
from mulgil.stream.segment import Segment
from mulgil.stream.settings import StreamSettings
from mulgil.stream.shard import Shard
from mulgil.stream.stream import Done, Frame, Gap, Notify

HOUR_US = 3_600_000_000


class EmbeddedStream:
    """`Stream` in a folder. Opening reads only each shard's last segment, however large the log is."""

    def __init__(
        self,
        folder: Path,
        settings: StreamSettings,
        clock: Clock,
        *,
        readers: Checkpoints | None = None,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        """Open or create. Raises `Conflict` where another process has it open, `Broken` where it cannot be opened.

        `readers` are all who read this stream, with the checkpoints that they stored; retention waits for each.
        """
        self.folder = folder
        self.settings = settings
        self._readers = Readers(readers or {})
        self._shards: list[Shard] = []
        self._closed = False
        self._lock_file = _lock(folder)
        try:
            for number in range(max(settings.shards, _shards_in(folder))):
                self._shards.append(Shard(_shard_folder(folder, number), number, settings, clock, sync=sync))
        except BaseException:
            self._let_go()
            raise
        self._writers = [GroupCommit(shard, settings.waiting_bytes_max) for shard in self._shards]

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
        if not 0 <= shard < len(self._writers):
            raise self._no_shard(shard)
        self._writers[shard].submit(Run(payload, count, key, meta, done, notify))

    def read(self, shard: int, sequence: int, bytes_max: int) -> list[Frame]:
        """As `Stream.read`; one positioned read for most calls of a reader that goes forward."""
        return self._shard(shard).read(sequence, bytes_max)

    def ends(self) -> list[int]:
        """As `Stream.ends`."""
        return [shard.end for shard in self._shards]

    def starts(self) -> list[int]:
        """As `Stream.starts`."""
        return [shard.start for shard in self._shards]

    def shard_for(self, key: str) -> int:
        """As `Stream.shard_for`."""
        return shard_of(key, self.settings.shards)

    def checkpoint(self, reader: str, shard: int, sequence: int) -> None:
        """As `Stream.checkpoint`."""
        self._readers.checkpoint(reader, self._shard(shard).number, sequence)

    def forget(self, reader: str) -> None:
        """As `Stream.forget`."""
        self._readers.forget(reader)

    def trim(self, now_us: int) -> int:
        """As `Stream.trim`: whole segments, never the last of a shard."""
        before_us = now_us - int(self.settings.retention_hours * HOUR_US)
        freed = 0
        for shard in self._shards:
            while (oldest := self._oldest(shard)) is not None and (oldest.end_us or 0) < before_us:
                freed += shard.delete(oldest)
        if self.settings.retention_bytes is not None:
            excess = self.size_bytes() - self.settings.retention_bytes
            while excess > 0:
                candidates = [(oldest.end_us or 0, shard.number, oldest) for shard, oldest in self._oldests()]
                if not candidates:
                    break
                _, number, oldest = min(candidates, key=lambda candidate: candidate[:2])
                size = self._shards[number].delete(oldest)
                freed += size
                excess -= size
        return freed

    def size_bytes(self) -> int:
        """As `Stream.size_bytes`; what is set aside for coming frames is not counted."""
        return sum(shard.size_bytes() for shard in self._shards)

    def gaps(self) -> list[Gap]:
        """As `Stream.gaps`."""
        return [gap for shard in self._shards for gap in shard.gaps()]

    def close(self) -> None:
        """As `Stream.close`."""
        if not self._closed:
            self._closed = True
            for writer in self._writers:
                writer.close()
            self._let_go()

    def _shard(self, number: int) -> Shard:
        if not 0 <= number < len(self._shards):
            raise self._no_shard(number)
        return self._shards[number]

    def _no_shard(self, number: int) -> Missing:
        return Missing(f"no shard {number}", where=str(self.folder), hint=f"there are {len(self._shards)}, from 0")

    def _oldest(self, shard: Shard) -> Segment | None:
        return shard.oldest(self._readers.slowest(shard.number))

    def _oldests(self) -> list[tuple[Shard, Segment]]:
        found = [(shard, self._oldest(shard)) for shard in self._shards]
        return [(shard, oldest) for shard, oldest in found if oldest is not None]

    def _let_go(self) -> None:
        for shard in self._shards:
            shard.close()
        os.close(self._lock_file)


def shard_of(key: str, shards: int) -> int:
    """The shard of a partition key: its CRC-32, scaled to the number of shards."""
    return (crc32(key.encode("utf-8", "surrogatepass")) * shards) >> 32


def _shard_folder(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}"


def _shards_in(folder: Path) -> int:
    numbers = (path.name.removeprefix("shard-") for path in folder.glob("shard-*"))
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def _lock(folder: Path) -> int:
    """Be the only one who has the folder open; the file says who it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise Broken(f"the stream's folder cannot be used: {error.strerror}", where=str(folder)) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        owner = os.pread(file, 32, 0).decode("ascii", "replace")
        os.close(file)
        raise Conflict(
            f"process {owner or 'unknown'} has the stream open",
            where=str(folder),
            hint="only one `mulgil run` may work in a project",
        ) from None
    except OSError as error:
        os.close(file)
        raise Broken(f"the stream's folder cannot be locked: {error.strerror}", where=str(folder)) from error
    return file
