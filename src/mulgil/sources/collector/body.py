"""A request's body, checked and brought into the one shape that the stream keeps: one JSON object a line.

Everything here is C code over the whole body (msgspec, numpy); Python looks at single events only to name a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from mulgil.errors import Invalid
from mulgil.record import Records

MISTAKES_NAMED = 10
EVENTS_MAX = 100_000
"""Events of one request at most."""
OBJECTS_MAX = 10 * EVENTS_MAX
"""Braces of one request at most, which is known before any is parsed."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CODECS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}


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


class UnknownEncoding(Invalid):
    """The body is packed in a way that the door does not know."""


def decompressed(data: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body as it was before `Content-Encoding`; never more than `bytes_max` are made of it.

    Both may come in several members or frames. Raises `TooLarge` beyond, `UnknownEncoding`, and `Invalid` for a body
    that is damaged or ends too early.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        plain = data
    elif (codec := CODECS.get(encoding)) is None:
        raise UnknownEncoding(f"Content-Encoding {encoding!r} is not known", hint="send gzip, zstd or nothing")
    else:
        try:
            with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
                plain = stream.read(bytes_max + 1)
        except OSError as error:
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
    if data.count(b"{") > OBJECTS_MAX or data.count(b"\n") > OBJECTS_MAX:
        raise TooLarge(f"the body holds more than {OBJECTS_MAX:,} objects or lines", hint="send smaller batches")
    body = _events(data)
    if body.count > EVENTS_MAX:
        raise TooLarge(f"the body holds {body.count:,} events", hint=f"at most {EVENTS_MAX:,}: send smaller batches")
    return body


def _events(data: bytes) -> Body:
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
