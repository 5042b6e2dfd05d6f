"""A stream as a source: what the collector put in comes out as blocks, from any position.

Frames are handed on as they lie on the disk. A frame of plain records is one block of its shard; a run that a remote
agent sent is a block of the agent's file generation, and carries the shard's position beside its own.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence

import numpy as np

from mulgil.errors import Broken
from mulgil.record import Block, Keyed, Lag, Mark
from mulgil.schema import Format
from mulgil.stream import Entry, Frame, Stream

READER = "delivery"
SCAN_BYTES = 16 * 2**20
READ_BYTES = 4 * 2**20
RECORD_WEIGHT_BYTES = 128
"""A record counts as so much at least: as a row of a wide table it takes memory, however short its text is."""


class StreamSource:
    """Fills `record.Source` from a stream."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.name = name
        self._stream = stream
        self._shards = len(stream.ends())
        self._next = [0] * self._shards
        self._committed = [0] * self._shards
        self._waiting: list[tuple[int, int, int]] = []  # shard, sequence behind the block, when it arrived

    def resume(self, marks: Sequence[Mark]) -> None:
        """Start after the shards' marks; those of agents' files say nothing about the stream.

        Raises `Broken` where the stream ends before a mark: it is not the stream that was read, and what it takes in
        would pass for delivered.
        """
        places = {mark.part: mark.place for mark in marks}
        starts, ends = self._stream.starts(), self._stream.ends()
        for shard in range(self._shards):
            place = places.get(part_of(shard), starts[shard])
            if place > ends[shard]:
                raise Broken(
                    f"{place} records of the stream are in the lake, and it holds only {ends[shard]}",
                    where=f"stream {self.name}, shard {shard}",
                    hint="its folder was replaced or set back: restore it, or give the source a new name",
                )
            self._next[shard] = self._committed[shard] = place
            self._stream.checkpoint(READER, shard, self._committed[shard])
        self._waiting.clear()

    def poll(self, bytes_max: int) -> list[Block]:
        """Blocks of all shards in turn."""
        blocks: list[Block] = []
        reached, waiting = list(self._next), []
        room = bytes_max
        for shard in range(self._shards):
            if room <= 0:
                break
            share = room // (self._shards - shard)
            while share > 0 and (frames := self._stream.read(shard, reached[shard], min(share, READ_BYTES))):
                for frame in frames:
                    blocks += self._blocks(frame, reached[shard])
                    weight = max(len(frame.payload), RECORD_WEIGHT_BYTES * frame.count)
                    room, share = room - weight, share - weight
                    reached[shard] = frame.first + frame.count
                    waiting.append((shard, reached[shard], frame.appended_us))
        self._next = reached  # only now: what a shard that fails keeps from being handed out comes again
        self._waiting += waiting
        return blocks

    def committed(self, marks: Sequence[Mark]) -> None:
        """Let the stream's retention pass these positions."""
        places = {mark.part: mark.place for mark in marks}
        for shard in range(self._shards):
            if (place := places.get(part_of(shard))) is not None:
                self._committed[shard] = place
                self._stream.checkpoint(READER, shard, place)
        self._waiting = [one for one in self._waiting if one[1] > self._committed[one[0]]]

    def finish(self) -> None:
        """A stream holds whole records only."""

    def problems(self) -> list[tuple[str, str, str]]:
        return []

    def lag(self) -> Lag:
        """What is acknowledged and not in the lake; bytes are estimated from the mean record."""
        committed = list(self._committed)  # before the ends, which another thread moves on
        records = sum(max(0, end - done) for end, done in zip(self._stream.ends(), committed, strict=True))
        if not records:
            return Lag(0, 0, None)
        kept = sum(end - start for end, start in zip(self._stream.ends(), self._stream.starts(), strict=True))
        waiting = list(self._waiting)
        return Lag(
            int(self._stream.size_bytes() * records / max(1, kept)),
            records,
            min((arrived for _, _, arrived in waiting), default=None),
        )

    def close(self) -> None:
        """The stream belongs to whoever opened it."""

    def _blocks(self, frame: Frame, expected: int) -> list[Block]:
        if frame.first < expected:
            raise Broken(
                f"a frame begins at {frame.first} where the reader stands at {expected}",
                where=f"stream {self.name}, shard {frame.shard}",
            )
        lost = [gap for gap in self._stream.gaps() if gap.shard == frame.shard and expected <= gap.first < frame.first]
        unreadable = sum(gap.byte_end - gap.byte_first for gap in lost)
        if not any(entry.meta for entry in frame.entries):
            return [self._of_records(frame, unreadable)]
        if sum(entry.count for entry in frame.entries if entry.meta) != frame.count:
            raise Broken("a frame mixes an agent's bytes with plain records", where=f"stream {self.name}")
        return [self._of_agent(frame, entry) for entry in frame.entries]

    def _of_records(self, frame: Frame, unreadable: int) -> Block:
        part = part_of(frame.shard)
        return Block(
            part=part,
            unit="record",
            place=frame.first,
            payload=frame.payload,
            arrived_us=frame.appended_us,
            mark=Mark(part, frame.first + frame.count),
            keys=[Keyed(one.key, one.first_index, one.count) for one in frame.entries if one.key],
            unreadable_bytes=unreadable,
            origin="http",
        )

    def _of_agent(self, frame: Frame, entry: Entry) -> Block:
        meta = json.loads(entry.meta)
        payload = frame.payload[entry.byte_offset : entry.byte_offset + entry.byte_length]
        end = meta["offset"] + meta["length"]
        return Block(
            part=meta["generation"],
            unit="byte",
            place=meta["offset"],
            payload=payload,
            arrived_us=frame.appended_us,
            mark=Mark(meta["generation"], end, json.dumps({"host": meta["host"], "path": meta["path"]})),
            stream_mark=Mark(part_of(frame.shard), frame.first + entry.first_index + entry.count),
            starts=read_starts(meta["starts"]) if meta.get("starts") else None,
            format=Format.of(meta["format"]) if meta.get("format") else None,
            unreadable_bytes=meta.get("unreadable", 0),
            refused="" if meta["length"] else "the end of this file was gone before it could be read",
            origin=f"{meta['host']}:{meta['path']}",
        )


def shipped(stream: Stream, places: Mapping[str, int]) -> dict[str, int]:
    """How far agents' files lie in the stream behind these positions: what is accepted but not in the lake."""
    reached: dict[str, int] = {}
    for shard in range(len(stream.ends())):
        sequence = places.get(part_of(shard), stream.starts()[shard])
        while frames := stream.read(shard, sequence, SCAN_BYTES):
            for frame in frames:
                for entry in frame.entries:
                    if entry.meta:
                        meta = json.loads(entry.meta)
                        end = meta["offset"] + meta["length"]
                        reached[meta["generation"]] = max(end, reached.get(meta["generation"], 0))
                sequence = frame.first + frame.count
    return reached


def checkpoints(places: Mapping[str, int], shards: int) -> dict[int, int]:
    """Delivery's place in each shard, from the places of a source's parts."""
    return {shard: places.get(part_of(shard), 0) for shard in range(shards)}


def part_of(shard: int) -> str:
    """The name of a shard as a part of its source."""
    return f"shard-{shard}"


def read_starts(text: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """int64[n]: record starts from the base64 of their little-endian uint32 differences."""
    return np.cumsum(np.frombuffer(b64decode(text), dtype="<u4").astype(np.int64))
