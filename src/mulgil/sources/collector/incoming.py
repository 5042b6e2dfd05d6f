"""The body of one request as it comes in: read whole within a limit, or dropped. Called by the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]

from mulgil.errors import Invalid
from mulgil.sources.collector.body import TooLarge

DROPPED_BYTES_MAX = 64 * 2**20
DROPPED_S_MAX = 5.0
BODY_S_MAX = 30.0


class Incoming:
    """The bytes that belong to a request."""

    def __init__(self, scope: Any, proto: Any) -> None:
        self._scope = scope
        self._proto = proto
        self._pieces = self._arriving()
        self._whole = scope.method in ("GET", "HEAD", "OPTIONS")

    async def read(self, limit: int) -> bytes:
        """The whole body; never more than `limit` bytes are held. Raises `TooLarge`, `Invalid` when it broke off or
        did not come in time: a slow body keeps one of the server's connections from everybody else."""
        try:
            async with asyncio.timeout(BODY_S_MAX):
                return await self._read(limit)
        except TimeoutError as error:
            self._whole = True  # nobody waits for the rest
            raise Invalid(f"the body did not come within {BODY_S_MAX:.0f} s", hint="send smaller batches") from error

    async def _read(self, limit: int) -> bytes:
        declared = self._scope.headers.get("content-length")
        if declared is not None and declared.isdecimal() and "transfer-encoding" not in self._scope.headers:
            if int(declared) > limit:
                raise TooLarge(f"the body has {declared} bytes", hint=f"at most {limit}: send smaller batches")
            self._whole = True
            try:
                return bytes(await self._proto())
            except ProtocolClosed as error:
                raise Invalid("the connection was closed before the body's end") from error
        pieces: list[bytes] = []
        size = empty = 0
        async for piece in self._pieces:
            size += len(piece)
            empty += not piece
            if size > limit:
                raise TooLarge(f"the body is larger than {limit} bytes", hint="send smaller batches")
            pieces.append(piece)
        self._whole = True
        if empty > 1:  # granian ends every body with an empty piece, and puts one where the connection broke
            raise Invalid("the connection was closed before the body's end")
        return b"".join(pieces)

    async def drop(self) -> None:
        """Take in the rest that nobody wants, within bounds.

        A client that is still sending when the connection ends sees it broken (HTTP/2: the stream reset), and never
        the answer.
        """
        if self._whole:
            return
        dropped = 0
        try:
            async with asyncio.timeout(DROPPED_S_MAX):
                async for piece in self._pieces:
                    dropped += len(piece)
                    if dropped > DROPPED_BYTES_MAX:
                        return
        except (TimeoutError, ProtocolClosed):
            return

    async def _arriving(self) -> AsyncIterator[bytes]:
        async for piece in self._proto:  # which can be begun only once
            yield piece
