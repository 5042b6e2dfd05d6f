"""Bytes of one file at a place, compressed or not, and the bounded set of open descriptors."""

from __future__ import annotations

import bz2
import os
import zlib
from collections import OrderedDict
from typing import Protocol

import zstandard

from mulgil.errors import Invalid
from mulgil.sources.files.generation import Generation, State
from mulgil.sources.files.identity import birth_ns

RAW_BYTES = 1 << 14


class Reader(Protocol):
    """One open file."""

    descriptor: int

    def read(self, place: int, count: int) -> bytes:
        """`count` bytes from `place`; fewer only where the file ends. Raises `OSError`, and `Invalid` where a
        compressed file is damaged."""
        ...


class PlainReader:
    """A file as it is."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, place: int, count: int) -> bytes:
        data = os.pread(self.descriptor, count, place)
        while 0 < len(data) < count:  # one read gives 2 GiB at most
            more = os.pread(self.descriptor, count - len(data), place + len(data))
            if not more:
                break
            data += more
        return data


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class PackedReader:
    """A compressed file, read forward; a place before the last one starts again at the beginning.

    Several members or frames in one file follow each other, as gzip, bzip2 and zstd allow.
    """

    def __init__(self, descriptor: int, packing: str) -> None:
        self.descriptor = descriptor
        self.packing = packing
        self._restart()

    @property
    def ended(self) -> bool:
        """Whether everything was decompressed and the last member is whole."""
        return self._drained and self._member is None

    def read(self, place: int, count: int) -> bytes:
        if place < self._low:
            self._restart()
        while self._low + len(self._held) < place + count and self._more():
            self._drop_before(place)
        self._drop_before(place)
        return bytes(self._held[:count]) if place == self._low else b""

    def _drop_before(self, place: int) -> None:
        count = min(place - self._low, len(self._held))
        if count > 0:
            del self._held[:count]
            self._low += count

    def _restart(self) -> None:
        self._raw_place = 0
        self._low = 0
        self._held = bytearray()
        self._member: _Decompressor | None = None
        self._drained = False

    def _more(self) -> bool:
        raw = os.pread(self.descriptor, RAW_BYTES, self._raw_place)
        self._drained = not raw
        self._raw_place += len(raw)
        try:
            while raw:
                if self._member is None:
                    raw = raw.lstrip(b"\0") if self.packing == "gzip" else raw  # gzip may be padded with zeros
                    if not raw:
                        break
                    self._member = _decompressor(self.packing)
                self._held += self._member.decompress(raw)
                if not self._member.eof:
                    break
                raw = self._member.unused_data
                self._member = None
        except (zlib.error, OSError, zstandard.ZstdError, EOFError) as error:
            raise Invalid(f"is not whole {self.packing}: {error}", hint="compress it again, or exclude it") from error
        return not self._drained


def _decompressor(packing: str) -> _Decompressor:
    if packing == "gzip":
        return zlib.decompressobj(wbits=31)
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    frame: _Decompressor = zstandard.ZstdDecompressor().decompressobj()
    return frame


def open_reader(path: str, packing: str) -> Reader:
    """Open without waiting (a FIFO in its place would block). Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    return PackedReader(descriptor, packing) if packing else PlainReader(descriptor)


class Readers:
    """Open files by generation, the least used closed first."""

    def __init__(self, open_max: int) -> None:
        self._open_max = open_max
        self._open: OrderedDict[str, tuple[Reader, Generation]] = OrderedDict()

    def get(self, generation: Generation) -> Reader | None:
        """The open file, if it is open."""
        held = self._open.get(generation.part)
        return held[0] if held else None

    def open(self, generation: Generation) -> Reader | None:
        """The generation's file; None where another file lies at its path by now. Raises `OSError`."""
        held = self._open.get(generation.part)
        if held is not None:
            self._open.move_to_end(generation.part)
            return held[0]
        reader = open_reader(generation.path, generation.packing)
        status = os.fstat(reader.descriptor)
        birth = birth_ns(reader.descriptor)
        if (status.st_dev, status.st_ino) != generation.key or (
            birth and generation.birth_ns and birth != generation.birth_ns
        ):
            os.close(reader.descriptor)
            return None
        if len(self._open) >= self._open_max:
            self._close_least_used()
        self._open[generation.part] = (reader, generation)
        return reader

    def close(self, generation: Generation) -> None:
        """Close it if it is open."""
        held = self._open.pop(generation.part, None)
        if held is not None:
            os.close(held[0].descriptor)

    def close_all(self) -> None:
        for reader, _ in self._open.values():
            os.close(reader.descriptor)
        self._open.clear()

    def _close_least_used(self) -> None:
        """Not one that was rotated or deleted and is not stored to its end: its name may be gone for ever."""
        for _, generation in self._open.values():
            if generation.state is not State.UNLINKED and not (
                generation.rotated and generation.size > generation.committed
            ):
                self.close(generation)
                return
