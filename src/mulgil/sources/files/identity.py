"""What makes a file the same file: birth time, fingerprints of its content, and the names that rotation gives.

A fingerprint at a place is two hashes: of the first 1 KiB (or less, up to the place) and of the 4 KiB before the place.
Two logs with equal first lines differ in the second; a file that was truncated and grew again differs in either.
"""
# Paths are strings: with 10,000 files pathlib costs more than the rest of a scan.
# ruff: noqa: PTH116, PTH119, PTH120, PTH122

from __future__ import annotations

import ctypes
import os
import re
import sys
from hashlib import blake2b
from typing import Protocol

HEAD_BYTES = 1024
CHECK_BYTES = 4096


def digest(data: bytes) -> str:
    """80 bits of BLAKE2b in hex."""
    return blake2b(data, digest_size=10).hexdigest()


NOTHING = digest(b"")


class Readable(Protocol):
    """Something that reads bytes at a place; fewer than asked for only at its end."""

    def read(self, place: int, count: int) -> bytes: ...


def fingerprint(reader: Readable, place: int) -> tuple[str, str] | None:
    """Head and check of what lies before `place`; None where the file is shorter."""
    low = max(0, place - CHECK_BYTES)
    head = reader.read(0, min(HEAD_BYTES, place))
    check = reader.read(low, place - low)
    if len(check) < place - low:
        return None
    return digest(head), digest(check)


STATX_BTIME = 0x800
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000


def birth_ns(target: int | str) -> int:
    """When the file was born, nanoseconds since 1970, by descriptor or path; 0 where nobody knows.

    Python before 3.15 has no statx, so the C library is asked. Layout of `struct statx`: linux/stat.h.
    """
    if not sys.platform.startswith("linux"):
        try:
            status = os.stat(target)
        except OSError:
            return 0
        return int(getattr(status, "st_birthtime", 0) * 1e9)
    if _STATX is None:
        return 0
    answer = ctypes.create_string_buffer(256)
    if isinstance(target, int):
        failed = _STATX(target, b"", AT_EMPTY_PATH, STATX_BTIME, answer)
    else:
        failed = _STATX(AT_FDCWD, os.fsencode(target), 0, STATX_BTIME, answer)
    mask = int.from_bytes(answer.raw[0:4], sys.byteorder)
    if failed or not mask & STATX_BTIME:
        return 0
    seconds = int.from_bytes(answer.raw[80:88], sys.byteorder, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(answer.raw[88:92], sys.byteorder)


_STATX = getattr(ctypes.CDLL(None), "statx", None) if sys.platform.startswith("linux") else None

PACKINGS = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}


def packing(path: str) -> str:
    """How a file of this name is compressed: gzip, bzip2, zstd or empty."""
    return PACKINGS.get(os.path.splitext(path)[1].lower(), "")


_NUMBERED = re.compile(r"(?:[.-](?:\d+|old|bak|orig|save)|[._-]\d{4}-?\d\d-?\d\d(?:[T._-]?\d+)*)$")
_DATED = re.compile(r"[._-]\d[\dT._-]*(?=\.[A-Za-z]+$)")


def stem(path: str) -> str:
    """The name that a log had before rotation: access.log for access.log.2.gz, access-20260101.log, access.log.old."""
    name = os.path.basename(path)
    if packing(name):
        name = os.path.splitext(name)[0]
    while True:
        shorter = _NUMBERED.sub("", name)
        if shorter in (name, ""):
            break
        name = shorter
    return _DATED.sub("", name) or name


def is_rotated_name(path: str, log: str) -> bool:
    """Whether rotation may have given this name to what was `log`: same folder, same stem, and a suffix of its own."""
    return (
        path != log
        and os.path.dirname(path) == os.path.dirname(log)
        and stem(path) == stem(log)
        and os.path.basename(path) != stem(path)
    )
