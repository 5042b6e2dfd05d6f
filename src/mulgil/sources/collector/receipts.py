"""How far each file of each agent has been taken in, so that whatever an agent sends again is stored once.

The truth is the state's position together with what lies in the stream behind it; this is that truth in memory. It is
asked for once per file generation and kept up with every append.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from mulgil.errors import Invalid
from mulgil.record import PLACE_BITS, Block, Mark
from mulgil.schema import Format

FILES_REMEMBERED = 65_536
"""Marks that are kept in memory: those of the files that were asked for last."""
GENERATION_CHARACTERS_MAX = 200
PLACE_MAX = (1 << PLACE_BITS) - 1
_SHARD_NAME = re.compile(r"shard-\d+\Z")


@dataclass(frozen=True)
class Shipment:
    """A range of one file generation, as an agent sends it."""

    host: str
    path: str
    generation: str
    offset: int
    length: int
    payload: bytes
    starts: tuple[int, ...] | None
    """Where records start in the payload; None: records are lines."""
    format: Format | None
    unreadable: int
    count: int

    def after(self, offset: int) -> Shipment:
        """The part that begins at `offset`; the whole where it begins there or later."""
        skip = min(max(0, offset - self.offset), self.length)
        if not skip:
            return self
        starts = None if self.starts is None else tuple(one - skip for one in self.starts if one >= skip)
        payload = self.payload[skip:] if skip < self.length else b""
        return replace(
            self,
            offset=self.offset + skip,
            length=self.length - skip,
            payload=payload,
            starts=starts,
            unreadable=0,  # those lie before the first byte, and came with it
            count=_count(payload, starts),
        )

    def as_notice(self) -> Shipment:
        """Bytes that are gone, without any that are left: one record that says so, for the quarantine."""
        said = json.dumps({"path": self.path, "unreadable_bytes": self.unreadable}, ensure_ascii=False)
        return replace(self, payload=said.encode() + b"\n", starts=None, format=None, count=1)

    def meta(self) -> bytes:
        """What the stream keeps beside the payload."""
        about: dict[str, Any] = {
            "generation": self.generation,
            "offset": self.offset,
            "length": self.length,
            "host": self.host,
            "path": self.path,
        }
        if self.format is not None:
            about["format"] = self.format.as_dict()
        if self.unreadable:
            about["unreadable"] = self.unreadable
        if self.starts is not None:
            deltas = np.diff(np.array(self.starts, dtype=np.int64), prepend=0).astype("<u4")
            about["starts"] = b64encode(deltas.tobytes()).decode()
        return json.dumps(about, separators=(",", ":")).encode()


def read_shipment(headers: Any, body: bytes) -> Shipment:
    """A shipment from its request. Raises `Invalid` where a header is missing or the bytes are not those that were
    sent."""

    def header(name: str) -> str:
        value = headers.get(name)
        if value is None:
            raise Invalid(f"the header {name} is missing", hint="this address is for `mulgil agent`")
        return str(value)

    try:
        offset, length = int(header("mulgil-offset")), int(header("mulgil-length"))
        crc = int(header("mulgil-crc32"), 16)
        unreadable = int(headers.get("mulgil-unreadable") or 0)
        starts = _starts(headers.get("mulgil-starts"))
        said = headers.get("mulgil-format")
        declared = _format(said) if said else None
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise Invalid(f"a header of the agent is damaged: {error}") from error
    if len(body) != length or zlib.crc32(body) != crc:
        raise Invalid(f"the body is not the {length} bytes that were sent", hint="it is sent again")
    if starts is not None and any(not 0 <= one < length for one in starts):
        raise Invalid("an offset lies outside the range that was sent")
    if not 0 <= offset <= PLACE_MAX - length or not 0 <= unreadable <= PLACE_MAX:
        raise Invalid("an offset lies outside of any file", hint=f"files have at most {PLACE_MAX} bytes")
    if starts is not None and any(one >= after for one, after in pairwise(starts)):
        raise Invalid("the starts of records are not in order")
    payload = body if body.endswith(b"\n") or not body else body + b"\n"
    return Shipment(
        header("mulgil-host"),
        header("mulgil-path"),
        checked_generation(header("mulgil-generation")),
        offset,
        length,
        payload,
        starts,
        declared,
        unreadable,
        _count(payload, starts),
    )


def checked_generation(name: str) -> str:
    """The name of a file generation. Raises `Invalid` for one that cannot be a part of its own."""
    if not 0 < len(name) <= GENERATION_CHARACTERS_MAX or _SHARD_NAME.match(name):
        raise Invalid(
            f"{name[:GENERATION_CHARACTERS_MAX]!r} cannot be a file's generation",
            hint=f"1 to {GENERATION_CHARACTERS_MAX} characters, and not the name of a shard",
        )
    return name


class Receipts:
    """High-water marks of agents' files. Used by one event loop."""

    def __init__(self, stored: Callable[[str, str], int], remembered: int = FILES_REMEMBERED) -> None:
        """`stored(source, generation)` answers the mark that state and stream hold.

        `remembered` marks are kept at least. What it answers for one that was let go may lie before what was taken in
        since; then an agent sends that again, and delivery drops it by its position.
        """
        self._stored = stored
        self._remembered = remembered
        self._offsets: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    def offset(self, source: str, generation: str) -> int:
        """The first byte that has not been taken in; 0 for a file that is not known."""
        key = (source, generation)
        if key not in self._offsets:
            self._keep(key, self._stored(source, generation))
        self._offsets.move_to_end(key)
        return self._offsets[key]

    def advance(self, source: str, generation: str, offset: int) -> None:
        """The bytes before `offset` are durable."""
        self._keep((source, generation), offset)

    @asynccontextmanager
    async def turn(self, source: str, generation: str) -> AsyncIterator[None]:
        """Requests for one file are taken one after another: a repeated one waits for the first to be durable."""
        key = (source, generation)
        lock, users = self._turns.get(key) or (asyncio.Lock(), 0)
        self._turns[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(key)
            if users > 1:
                self._turns[key] = (lock, users - 1)

    def _keep(self, key: tuple[str, str], offset: int) -> None:
        self._offsets[key] = offset
        self._offsets.move_to_end(key)
        while len(self._offsets) > self._remembered:
            self._offsets.popitem(last=False)


def _format(said: str) -> Format:
    about = msgspec.json.decode(said, type=dict[str, Any])
    Format.of(about)  # names what it does not know
    return msgspec.convert(about, Format)


def _starts(text: str | None) -> tuple[int, ...] | None:
    if not text:
        return None
    return tuple(np.cumsum(np.frombuffer(b64decode(text, validate=True), dtype="<u4").astype(np.int64)).tolist())


def _count(payload: bytes, starts: tuple[int, ...] | None) -> int:
    """As many as delivery will find: the stream numbers records, and delivery books them."""
    cuts = None if starts is None else np.array(starts, dtype=np.int64)
    return len(Block("", "byte", 0, payload, 0, Mark("", 0), starts=cuts).records)
