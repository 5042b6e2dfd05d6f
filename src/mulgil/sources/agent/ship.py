"""The agent's loop: poll files, send what is new, go on from where the server says. `run_agent` is what the CLI calls.

The wire: `POST /v1/<source>/agent`, one range of one file generation each, body raw or zstd:

    Mulgil-Host, Mulgil-Path    where it comes from (what is not printable ASCII in the path is percent-encoded)
    Mulgil-Generation           UUID of the file's life
    Mulgil-Offset               place of the body's first byte in it
    Mulgil-Length, -Crc32       of the uncompressed body; CRC in hex
    Mulgil-Unreadable           bytes before Offset that exist no more or are no records: Offset less these is where
                                the range before this one ended
    Mulgil-Format               JSON of `Format.as_dict()`, if one is declared
    Mulgil-Starts               multi-line records' starts: base64 of little-endian uint32 deltas, the first from 0

202 and 409 answer `{"offset": n}`, the server's high-water mark; the agent goes on from there. An empty body with
Mulgil-Unreadable accounts for the rest of a generation that is gone. `GET /v1/<source>/agent?generation=<uuid>` asks
for the mark alone.
"""

from __future__ import annotations

import base64
import json
import socket
import string
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np
import zstandard

from mulgil.clock import Clock
from mulgil.errors import Invalid, Missing, MulgilError, Overloaded, Retry
from mulgil.ids import new_snapshot_id
from mulgil.record import Block, Mark
from mulgil.sources.agent.checkpoint import Checkpoint, Checkpoints
from mulgil.sources.agent.client import Client
from mulgil.sources.agent.settings import AgentFlow, AgentSettings
from mulgil.sources.files import FilesSource

FORGET_INTERVAL_S = 3600.0
RETRY_S_MIN = 0.1
COMPRESS_BYTES_MIN = 512
STARTS_MAX = 4000
"""So many multi-line records go into one request, so that their starts fit into a header (21 KB)."""
_PRINTABLE = "".join(set(string.printable) - set(string.whitespace) - {"%"}) + " "


@dataclass(frozen=True, slots=True)
class FlowProgress:
    """How one flow stands."""

    name: str
    sent_bytes: int
    """since the agent started"""
    waiting_bytes: int
    error: str
    """why nothing is sent just now; empty when all is well"""
    problems: tuple[tuple[str, str, str], ...]
    """files that cannot be read: path, what is wrong, hint"""


def run_agent(
    settings: AgentSettings,
    clock: Clock,
    stop: threading.Event,
    progress: Callable[[tuple[FlowProgress, ...]], None] = lambda flows: None,
) -> None:
    """Ship until `stop` is set. `progress` is called after every round.

    Raises `Broken` if the positions cannot be kept, `Conflict` if another agent keeps its own there, and `Invalid` for
    a certificate file that cannot be used; everything else is tried again for ever.
    """
    settings = replace(settings, host=settings.host or socket.gethostname())
    client = Client(settings)
    checkpoints = Checkpoints(settings.state)
    shippers = [Shipper(flow, settings, clock, checkpoints, client) for flow in settings.flows]
    try:
        while not stop.is_set():
            busy = False
            for shipper in shippers:
                busy = shipper.step() or busy
                if stop.is_set():
                    break
            progress(tuple(shipper.progress() for shipper in shippers))
            if not busy:
                clock.wait(stop, settings.poll_interval_s)
    finally:
        for shipper in shippers:
            shipper.close()
        client.close()
        checkpoints.close()


class Shipper:
    """One flow. Each `step` sends one poll's blocks at most and never waits: flows do not hold each other up."""

    def __init__(
        self, flow: AgentFlow, settings: AgentSettings, clock: Clock, checkpoints: Checkpoints, client: Client
    ) -> None:
        self._flow = flow
        self._settings = settings
        self._clock = clock
        self._checkpoints = checkpoints
        self._client = client
        self._source = FilesSource(flow.files, clock)
        self._path = f"/v1/{quote(flow.source, safe='')}/agent"
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._known = {one.mark.part: one for one in checkpoints.load(flow.files.name)}
        self._unasked: deque[str] | None = deque(self._known)
        self._pending: deque[Block] = deque()
        self._changed: set[str] = set()
        self._failures = 0
        self._not_before_s = float("-inf")
        self._error = ""
        self._sent_bytes = 0
        self._forget_s = clock.monotonic_s() + FORGET_INTERVAL_S

    def step(self) -> bool:
        """Send what is new; tells whether there was anything to do."""
        if self._clock.monotonic_s() < self._not_before_s:
            return False
        try:
            if self._unasked is not None:
                self._ask()
            return self._ship()
        except (Retry, Overloaded, Invalid, Missing) as error:
            self._fail(error)
            return False
        finally:
            self._save()

    def progress(self) -> FlowProgress:
        return FlowProgress(
            self._flow.files.name,
            self._sent_bytes,
            self._source.lag().waiting_bytes + sum(len(block.payload) for block in self._pending),
            self._error,
            tuple(self._source.problems()),
        )

    def close(self) -> None:
        self._save()
        self._source.close()

    def _ask(self) -> None:
        """Learn from the server how far it has each generation that is remembered."""
        assert self._unasked is not None
        while self._unasked:
            known = self._known[self._unasked[0]]
            _, offset = self._client.ask("GET", f"{self._path}?generation={known.mark.part}", {})
            place = offset if offset < known.acknowledged else max(offset, known.mark.place)
            self._known[known.mark.part] = Checkpoint(replace(known.mark, place=place), offset)
            self._unasked.popleft()
        self._unasked = None
        self._source.resume([one.mark for one in self._known.values()])

    def _ship(self) -> bool:
        if not self._pending:
            blocks = self._source.poll(self._settings.batch_bytes)
            self._pending.extend(piece for block in blocks for piece in pieces(block))
            new = {block.part: block for block in reversed(blocks) if block.part not in self._known}
            for part, block in new.items():
                self._known[part] = Checkpoint(replace(block.mark, place=block.place - block.unreadable_bytes), 0)
                self._changed.add(part)
            if new:
                self._save()
        busy = bool(self._pending)
        while self._pending:
            block = self._pending[0]
            if not block.payload and not block.unreadable_bytes:
                self._advance(block, block.mark, self._known[block.part].acknowledged)
            elif not self._send(block):
                break
            self._failures, self._error = 0, ""
        self._forget()
        return busy

    def _send(self, block: Block) -> bool:
        """Send one block; False where the server wants the generation from another place."""
        status, offset = self._client.ask("POST", self._path, self._headers(block), self._body(block))
        if status == 202 and (offset == block.mark.place or not block.payload):
            self._advance(block, block.mark, offset)
            self._sent_bytes += len(block.payload)
            return True
        known = self._known[block.part]
        self._known[block.part] = Checkpoint(replace(known.mark, place=offset), offset)
        self._changed.add(block.part)
        self._pending.clear()
        self._source.resume([one.mark for one in self._known.values()])
        if status == 409 and offset == block.place - block.unreadable_bytes:
            raise Retry("asks for the bytes that were sent", where=self._settings.server, hint="update it")
        return False

    def _advance(self, block: Block, mark: Mark, acknowledged: int) -> None:
        self._known[block.part] = Checkpoint(mark, acknowledged)
        self._changed.add(block.part)
        self._source.committed([mark])
        self._pending.popleft()

    def _headers(self, block: Block) -> dict[str, str]:
        headers = {
            "Mulgil-Host": self._settings.host,
            "Mulgil-Path": quote(block.origin, safe=_PRINTABLE),
            "Mulgil-Generation": block.part,
            "Mulgil-Offset": str(block.place),
            "Mulgil-Length": str(len(block.payload)),
            "Mulgil-Crc32": f"{zlib.crc32(block.payload):08x}",
            "Content-Type": "application/octet-stream",
        }
        if block.unreadable_bytes:
            headers["Mulgil-Unreadable"] = str(block.unreadable_bytes)
        declared = self._flow.format
        if declared is not None and block.format is not None:
            declared = block.format
        if declared is not None:
            headers["Mulgil-Format"] = json.dumps(declared.as_dict())
        if block.starts is not None:
            deltas = np.diff(block.starts, prepend=0).astype("<u4")
            headers["Mulgil-Starts"] = base64.b64encode(deltas.tobytes()).decode()
        if self._is_compressed(block):
            headers["Content-Encoding"] = "zstd"
        return headers

    def _body(self, block: Block) -> bytes:
        return self._compressor.compress(block.payload) if self._is_compressed(block) else block.payload

    def _is_compressed(self, block: Block) -> bool:
        return self._settings.compress and len(block.payload) >= COMPRESS_BYTES_MIN

    def _fail(self, error: MulgilError) -> None:
        """Wait, twice as long each time and never as long as the others that failed together."""
        self._failures += 1
        after_s = error.after_s if isinstance(error, (Retry, Overloaded)) else 0.0
        back_off_s = min(self._settings.retry_s_max, RETRY_S_MIN * 2.0 ** min(self._failures - 1, 20))
        chance = new_snapshot_id() / 2**63
        self._not_before_s = self._clock.monotonic_s() + max(after_s, back_off_s * (0.5 + 0.5 * chance))
        self._error = str(error)

    def _forget(self) -> None:
        """Drop positions of files that are long gone."""
        if self._clock.monotonic_s() < self._forget_s:
            return
        self._forget_s = self._clock.monotonic_s() + FORGET_INTERVAL_S
        parts = self._source.forgettable([one.mark for one in self._known.values()])
        self._source.forget(parts)
        for part in parts:
            del self._known[part]
        self._changed.difference_update(parts)
        self._checkpoints.save(self._flow.files.name, [], parts)

    def _save(self) -> None:
        if self._changed:
            self._checkpoints.save(self._flow.files.name, [self._known[part] for part in self._changed])
            self._changed.clear()


def pieces(block: Block) -> list[Block]:
    """The block, or blocks of at most `STARTS_MAX` multi-line records each."""
    if block.starts is None or len(block.starts) <= STARTS_MAX:
        return [block]
    edges = [int(block.starts[index]) for index in range(0, len(block.starts), STARTS_MAX)]
    found = []
    for number, (low, high) in enumerate(zip([0, *edges[1:]], [*edges[1:], len(block.payload)], strict=True)):
        first = number * STARTS_MAX
        found.append(
            replace(
                block,
                place=block.place + low,
                payload=block.payload[low:high],
                starts=block.starts[first : first + STARTS_MAX] - low,
                mark=replace(block.mark, place=block.place + high),
                unreadable_bytes=0 if number else block.unreadable_bytes,
            )
        )
    return found
