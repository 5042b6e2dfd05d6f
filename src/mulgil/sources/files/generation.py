"""One file's life: what is known of it, where reading stands, and how a stored position remembers it."""
# Paths are strings: with 10,000 files pathlib costs more than the rest of a scan.
# ruff: noqa: PTH120

from __future__ import annotations

import enum
import json
import os
from dataclasses import dataclass

from mulgil.errors import Broken
from mulgil.record import Mark
from mulgil.sources.files.identity import HEAD_BYTES, NOTHING, stem

HeadKey = tuple[int, str, str]
"""How many bytes of a file's beginning were hashed, the hash, and the file's stem."""


class State(enum.Enum):
    """Whether a generation's bytes can be reached."""

    LIVE = "live"
    """It lies at `path`."""
    UNLINKED = "unlinked"
    """It has left the folders that are looked through, and is read through its open descriptor."""
    LOST = "lost"
    """It is nowhere: truncated, deleted, or not found again yet."""


@dataclass(slots=True, eq=False)
class Generation:
    """One file from its birth to its truncation or deletion; a rename or a compression does not end it."""

    part: str
    path: str
    device: int
    inode: int
    birth_ns: int
    packing: str = ""
    """gzip, bzip2, zstd, or empty for a file as it is"""
    place: int = 0
    """offset (in the decompressed bytes) of the first byte that was not handed out"""
    start: int = 0
    """where reading began without a stored position; -1: compressed and skipped"""
    size: int = 0
    """the last known end; for a compressed file that is not read to its end, an estimate past `place`"""
    size_before: int = 0
    """`size` before it last changed"""
    raw: int = 0
    """bytes on disk"""
    mtime_ns: int = 0
    check_place: int = 0
    """where `head` and `check` were taken: see `identity.fingerprint`"""
    head: str = NOTHING
    check: str = NOTHING
    past: tuple[tuple[int, str], ...] = ()
    """the few `check_place` and `check` before these"""
    state: State = State.LIVE
    rotated: bool = False
    """it was renamed, compressed or deleted: nobody ends its last line any more"""
    done: bool = False
    """compressed: read to its end"""
    suspect: bool = False
    """it changed and did not grow: its content is to be compared"""
    cut: bool = False
    """`place` lies inside a line that was too long; the rest of that line is skipped"""
    columns: tuple[str, ...] | None = None
    """the header line's names, once read"""
    stuck: int = -1
    """the size at which there was no whole record after `place`"""
    waited: bool = False
    """it was quiet for long enough, and still nothing was whole"""
    stirred_s: float = 0.0
    """monotonic: when it last changed, or was lost"""
    waiting_us: int = 0
    """when what waits was first seen"""
    committed: int = 0
    marked_us: int = 0
    """when its last mark was made"""
    note: bool = False
    """its identity changed and no mark says so yet"""
    filed: HeadKey | None = None
    """where the tracker keeps it by its beginning"""
    closing: bool = False
    """lost for good with unread bytes, which are to be counted"""
    retry_s: float = 0.0
    """monotonic: not to be opened before"""

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode

    @property
    def head_key(self) -> HeadKey:
        return min(HEAD_BYTES, self.check_place), self.head, stem(self.path)

    @property
    def unread(self) -> int:
        return max(0, self.size - self.place)

    def mark(self, now_us: int) -> Mark:
        """The position as it stands."""
        self.marked_us = now_us
        self.note = False
        known: dict[str, str | int | bool] = {
            "path": self.path,
            "device": self.device,
            "inode": self.inode,
            "birth_ns": self.birth_ns,
            "compressed": self.packing,
            "hash_bytes": self.check_place,
            "head": self.head,
            "hash": self.check,
            "size": max(self.size, self.place),
            "raw": self.raw,
            "mtime_ns": self.mtime_ns,
            "at_us": now_us,
        }
        for name in ("rotated", "done", "cut"):
            if getattr(self, name):
                known[name] = True
        return Mark(self.part, self.place, json.dumps(known, separators=(",", ":")))

    @classmethod
    def of_mark(cls, mark: Mark) -> Generation:
        """A generation that is remembered and not found yet. Raises `Broken` if the mark is not of this source."""
        try:
            known = json.loads(mark.detail)
            return cls(
                part=mark.part,
                path=known["path"],
                device=known["device"],
                inode=known["inode"],
                birth_ns=known["birth_ns"],
                packing=known["compressed"],
                place=mark.place,
                size=max(known["size"], mark.place),
                raw=known["raw"],
                mtime_ns=known["mtime_ns"],
                check_place=known["hash_bytes"],
                head=known["head"],
                check=known["hash"],
                state=State.LOST,
                rotated=known.get("rotated", False),
                done=known.get("done", False),
                cut=known.get("cut", False),
                committed=mark.place,
                marked_us=known["at_us"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"the stored position of {mark.part} cannot be read: {error!r}",
                hint="it was not written by a files source",
            ) from error

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)
