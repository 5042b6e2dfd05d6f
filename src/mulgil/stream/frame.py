"""The format of a frame: consecutive appends, written and checked as one.

Little-endian, version 1; `segment.py` says where frames lie.

    offset  size  field
         0     4  magic "MgFr"
         4     4  CRC-32 of bytes 8 to 63
         8     4  CRC-32 of entries and payload
        12     2  version
        14     2  zero
        16     8  identity of the segment: bytes of a stranger, or of a file's earlier life, cannot pass for a frame
        24     8  first sequence number
        32     8  durable: the sequence number up to which the shard had been synced when this frame was written
        40     8  appended, microseconds since 1970
        48     4  number of records; 0 in a tail mark, which carries nothing but `durable`
        52     4  length of the entries
        56     4  length of the payload
        60     4  zero
        64        entries, then payload

An entry: index of the first record, number of records, offset and length in the payload (4 bytes each), length of
the key (2) and of the meta (4); then key in UTF-8, then meta.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from zlib import crc32

from mulgil.errors import Invalid
from mulgil.stream.settings import PAYLOAD_BYTES_MAX
from mulgil.stream.stream import Done, Entry, Frame, Notify

MAGIC = b"MgFr"
VERSION = 1
KEY_CHARACTERS_MAX = 1024
META_BYTES_MAX = 1024 * 1024

_HEADER = struct.Struct("<4sIIHHQQQQIIII")
_ENTRY = struct.Struct("<IIIIHI")
HEADER_BYTES = _HEADER.size
_CHECKED_FROM = 8
_JOIN_BELOW_BYTES = 16 * 1024  # smaller payloads cost less to copy together than to hand over one by one


class Run(NamedTuple):
    """One append that waits for the disk."""

    payload: bytes
    records: int
    key: str
    meta: bytes
    done: Done
    notify: Notify | None


class Header(NamedTuple):
    """What a frame's first 64 bytes say."""

    body_crc: int
    identity: int
    first: int
    durable: int
    appended_us: int
    records: int
    entries_length: int
    payload_length: int

    @property
    def end(self) -> int:
        """The first sequence number after the frame."""
        return self.first + self.records

    @property
    def size(self) -> int:
        """The frame's length in bytes, header included."""
        return HEADER_BYTES + self.entries_length + self.payload_length


class Packed(NamedTuple):
    """A frame that is ready to be written."""

    buffers: list[bytes]
    size: int
    records: int


def check_run(payload: bytes, count: int, key: str, meta: bytes) -> None:
    """Raise `Invalid` for an append that no frame can carry."""
    if not 0 < len(payload) <= PAYLOAD_BYTES_MAX:
        raise Invalid(f"a payload of {len(payload)} bytes", where="stream", hint=f"1 to {PAYLOAD_BYTES_MAX}")
    if not 0 < count <= len(payload):
        raise Invalid(f"{count} records in {len(payload)} bytes", where="stream", hint="at least one, each with a byte")
    if len(key) > KEY_CHARACTERS_MAX:
        raise Invalid(f"a key of {len(key)} characters", where="stream", hint=f"at most {KEY_CHARACTERS_MAX}")
    if len(meta) > META_BYTES_MAX:
        raise Invalid(f"meta of {len(meta)} bytes", where="stream", hint=f"at most {META_BYTES_MAX}")


RECORDS_MAX = 65_536
"""Appends that share a frame hold at most so many records: a reader takes a frame whole, and rows cost it memory."""


def coalesce(runs: Iterable[Run], bytes_max: int) -> Iterator[list[Run]]:
    """Cut waiting appends into frames of up to `bytes_max`, in order; a larger append comes alone."""
    frame: list[Run] = []
    size = records = 0
    for run in runs:
        length = len(run.payload)
        if run.key or run.meta:
            length += _ENTRY.size + 4 * len(run.key) + len(run.meta)
        if frame and (size + length > bytes_max or records + run.records > RECORDS_MAX):
            yield frame
            frame, size, records = [], 0, 0
        frame.append(run)
        size += length
        records += run.records
    if frame:
        yield frame


def entries_of(runs: Iterable[Run]) -> Iterator[Entry]:
    """Where in their frame those appends lie that carry a key or meta."""
    index = offset = 0
    for payload, count, key, meta, _, _ in runs:
        length = len(payload)
        if key or meta:
            yield Entry(index, count, offset, length, key, meta)
        index += count
        offset += length


def pack(runs: list[Run], *, identity: int, first: int, durable: int, appended_us: int) -> Packed:
    """Write a frame's bytes; without runs, a tail mark."""
    entries = b"".join(map(_encode_entry, entries_of(runs)))
    payloads = [run.payload for run in runs]
    length = sum(map(len, payloads))
    if length < len(payloads) * _JOIN_BELOW_BYTES:
        payloads = [b"".join(payloads)]
    body_crc = crc32(entries)
    for payload in payloads:
        body_crc = crc32(payload, body_crc)
    count = sum([run.records for run in runs])
    fields = (VERSION, 0, identity, first, durable, appended_us, count, len(entries), length, 0)
    checked = _HEADER.pack(MAGIC, 0, body_crc, *fields)[_CHECKED_FROM:]
    header = _HEADER.pack(MAGIC, crc32(checked), body_crc, *fields)
    return Packed([header + entries, *payloads], HEADER_BYTES + len(entries) + length, count)


def unpack_header(buffer: bytes, offset: int, identity: int | None) -> Header | None:
    """The header at `offset`, or None where there is no valid one of this segment (of any, where identity is None)."""
    if len(buffer) - offset < HEADER_BYTES:
        return None
    magic, header_crc, body_crc, version, _, own, first, durable, appended_us, count, entries, payload, _ = (
        _HEADER.unpack_from(buffer, offset)
    )
    if magic != MAGIC or version != VERSION or (identity is not None and own != identity):
        return None
    if crc32(buffer[offset + _CHECKED_FROM : offset + HEADER_BYTES]) != header_crc:
        return None
    return Header(body_crc, own, first, durable, appended_us, count, entries, payload)


def body_is_whole(buffer: bytes, offset: int, header: Header) -> bool:
    """Whether entries and payload of the frame at `offset` are those that were written."""
    start = offset + HEADER_BYTES
    return crc32(memoryview(buffer)[start : offset + header.size]) == header.body_crc


def unpack(buffer: bytes, offset: int, header: Header, shard: int) -> Frame:
    """The frame at `offset`, whose body is known to be whole."""
    start = offset + HEADER_BYTES
    middle = start + header.entries_length
    entries = tuple(_decode_entries(buffer, start, middle)) if header.entries_length else ()
    payload = buffer[middle : middle + header.payload_length]
    return Frame(shard, header.first, header.records, payload, header.appended_us, entries)


def _encode_entry(entry: Entry) -> bytes:
    # surrogatepass: a key comes from a client's header, and no text that it can send may stop the shard
    key = entry.key.encode("utf-8", "surrogatepass")
    head = _ENTRY.pack(entry.first_index, entry.count, entry.byte_offset, entry.byte_length, len(key), len(entry.meta))
    return head + key + entry.meta


def _decode_entries(buffer: bytes, start: int, end: int) -> Iterator[Entry]:
    while start < end:
        first_index, count, offset, length, key_length, meta_length = _ENTRY.unpack_from(buffer, start)
        key_start = start + _ENTRY.size
        meta_start = key_start + key_length
        start = meta_start + meta_length
        key = buffer[key_start:meta_start].decode("utf-8", "surrogatepass")
        yield Entry(first_index, count, offset, length, key, buffer[meta_start:start])
