"""A request's body, checked and brought into the one shape that the stream keeps: one JSON object a line.

Everything here is C code over the whole body (msgspec, numpy); Python looks at single events only to name a mistake.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

import msgspec
import numpy as np
import zstandard

from mulgil.errors import Invalid
from mulgil.record import Records

MISTAKES_NAMED = 10
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Event(msgspec.Struct):
    """Any JSON object: its keys are checked and skipped."""


_ONE = msgspec.json.Decoder(_Event)
_ARRAY = msgspec.json.Decoder(list[_Event])
_RAW_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_RAW = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Body:
    """Events as lines: `payload` ends with a line feed and holds `count` records."""

    payload: bytes
    count: int


class TooLarge(Invalid):
    """The body is larger than the door takes."""


def decompressed(data: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body as it was before `Content-Encoding`; never more than `bytes_max` are made of it.

    Raises `TooLarge` beyond, `Invalid` for a damaged or unknown encoding.
    """
    try:
        match encoding.strip().lower():
            case "" | "identity":
                plain = data
            case "gzip" | "x-gzip":
                plain = _inflate(data, bytes_max)
            case "zstd":
                with zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(
                    data, read_across_frames=True
                ) as reader:
                    plain = reader.read(bytes_max + 1)
            case other:
                raise Invalid(f"Content-Encoding {other!r} is not known", hint="send gzip, zstd or nothing")
    except (zlib.error, EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise Invalid(f"the {encoding} body is damaged: {error}") from error
    if len(plain) > bytes_max:
        raise TooLarge(f"the body is larger than {bytes_max} bytes", hint="send smaller batches")
    return plain


def read_events(data: bytes) -> Body:
    """Check a body of JSON events: one object, an array of objects, or one object a line (NDJSON).

    Raises `Invalid` that names the lines (or, for an array, the events) that are wrong.
    """
    if data.startswith(BYTE_ORDER_MARK):
        data = data[len(BYTE_ORDER_MARK) :]
    if not data.isascii():
        _check_text(data)
    head = data[:64].lstrip()[:1] or data.lstrip()[:1]
    if not head:
        raise Invalid("the body is empty", hint="send a JSON object, an array of them, or one a line")
    if head == b"[":
        return _of_array(data)
    if (body := _of_lines(data)) is not None:
        return body
    if (one := _of_object(data)) is not None:
        return one
    return _line_by_line(data)


def _of_lines(data: bytes) -> Body | None:
    """NDJSON, or None where it is not exactly that."""
    records = Records.of_lines(data)
    octets = np.frombuffer(data, dtype=np.uint8)
    whole = (octets[records.starts] == 0x7B) & (octets[records.ends - 1] == 0x7D)
    if not whole.all():
        return None
    try:
        count = len(_ONE.decode_lines(data))
    except (msgspec.MsgspecError, RecursionError):
        return None
    # A record that begins and ends with a brace holds an object or more: equal counts leave one a line.
    if count != len(records):
        return None
    return Body(data if data.endswith(b"\n") else data + b"\n", count)


def _of_array(data: bytes) -> Body:
    try:
        count = len(_ARRAY.decode(data))
        events = _RAW_ARRAY.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"not an array of JSON objects: {_where(error)}") from error
    if not count:
        raise Invalid("the array is empty")
    return Body(_lines(events, data), count)


def _of_object(data: bytes) -> Body | None:
    try:
        _ONE.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return Body(_lines([_RAW.decode(data)], data), 1)


def _lines(events: list[msgspec.Raw], data: bytes) -> bytes:
    """The events one a line; line breaks inside them are white space, since JSON strings cannot hold any."""
    if b"\n" in data or b"\r" in data:
        return b"".join(msgspec.json.format(bytes(event), indent=-1) + b"\n" for event in events)
    return b"\n".join(map(bytes, events)) + b"\n"


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"line {line}: not UTF-8 (byte {error.start} of the body)") from error


def _line_by_line(data: bytes) -> Body:
    """The slow way, for bodies with spaces around their lines, and to name which lines are wrong and why."""
    lines: list[bytes] = []
    wrong: list[str] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not (line := line.strip()):
            continue
        try:
            _ONE.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            wrong.append(f"line {number}: {_where(error)}")
            if len(wrong) == MISTAKES_NAMED:
                break
        lines.append(line)
    if wrong:
        raise Invalid("; ".join(wrong), hint="nothing of this request was taken; send one JSON object a line")
    return Body(b"\n".join(lines).replace(b"\r", b" ") + b"\n", len(lines))


def _where(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).removeprefix("JSON is malformed: ").replace("Expected `object`", "expected an object")


def _inflate(data: bytes, bytes_max: int) -> bytes:
    """Gunzip one or more members, up to a limit."""
    plain = bytearray()
    while data:
        member = zlib.decompressobj(wbits=31)
        plain += member.decompress(data, bytes_max + 1 - len(plain))
        if len(plain) > bytes_max:
            return bytes(plain)
        if not member.eof:
            raise EOFError("it ends too early")
        data = member.unused_data
    return bytes(plain)
