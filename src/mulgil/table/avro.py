"""Avro container files, as Iceberg's manifests are written, from records that are already encoded.

`manifest.py` keeps every file's Avro record as bytes, so that a manifest is a header and a concatenation, whatever the
number of its columns' statistics. Format: https://avro.apache.org/docs/1.11.1/specification/#object-container-files
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import fastavro
import msgspec

from mulgil.errors import Broken

_MAGIC = b"Obj\x01"
_HEADER: dict[str, Any] = {"type": "map", "values": "bytes"}


def long(value: int) -> bytes:
    """An int or a long: zigzag, seven bits a byte."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Encoder:
    """Encodes records of one Avro schema. Logical types are taken as what lies below them: a date is an int."""

    def __init__(self, schema: Any) -> None:
        self._schema = fastavro.parse_schema(_bare(schema))

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """One record, without container."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._schema, record)
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """The inverse of `encode`."""
        record = fastavro.schemaless_reader(io.BytesIO(data), self._schema, None)
        assert isinstance(record, dict)
        return record


def header(schema: Any, metadata: Mapping[str, str]) -> bytes:
    """What stands before the blocks of a file, with its 16 bytes of sync marker at the end; blocks are deflated."""
    entries = {"avro.schema": msgspec.json.encode(schema).decode(), "avro.codec": "deflate", **metadata}
    out = bytearray(_MAGIC + long(len(entries)))
    for key, value in entries.items():
        for text in (key.encode(), value.encode()):
            out += long(len(text)) + text
    out += long(0)
    return bytes(out) + hashlib.md5(out, usedforsecurity=False).digest()


def container(head: bytes, records: Sequence[bytes]) -> bytes:
    """A whole file with one block of encoded records."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    block = deflate.compress(b"".join(records)) + deflate.flush()
    return head + long(len(records)) + long(len(block)) + block + head[-16:]


def read(data: bytes, *, where: str) -> Iterator[dict[str, Any]]:
    """The records of a container file, any writer's. Raises `Broken` where it is none or damaged."""
    if data[:4] != _MAGIC:
        raise Broken("this is no Avro file", where=where)
    file = io.BytesIO(data)
    file.seek(4)
    try:
        head: Any = fastavro.schemaless_reader(file, _HEADER, None)
        sync = file.read(16)
        schema = _parsed(head["avro.schema"])
        codec = head.get("avro.codec", b"null").decode()
        while file.tell() < len(data):
            count: Any = fastavro.schemaless_reader(file, "long", None)
            length: Any = fastavro.schemaless_reader(file, "long", None)
            block = io.BytesIO(_inflate(codec, file.read(length), where))
            for _ in range(count):
                record: Any = fastavro.schemaless_reader(block, schema, None)
                yield record
            if file.read(16) != sync:
                raise Broken("a block does not end where it should", where=where)
    except (EOFError, KeyError, ValueError, IndexError, TypeError, zlib.error) as error:
        raise Broken(f"this Avro file is damaged: {error}", where=where) from error


def _inflate(codec: str, block: bytes, where: str) -> bytes:
    if codec == "deflate":
        return zlib.decompress(block, -15)
    if codec == "null":
        return block
    raise Broken(f"Avro codec {codec!r} is not read here", where=where, hint="write manifests with deflate")


@lru_cache(maxsize=64)
def _parsed(schema: bytes) -> Any:
    return fastavro.parse_schema(_bare(msgspec.json.decode(schema)))


def _bare(schema: Any) -> Any:
    """The schema without logical types: values stay what is on the disk, whatever dates Python can hold."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    return schema
