from __future__ import annotations

import gzip
import json
import time
from contextlib import suppress
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mulgil.errors import Invalid
from mulgil.record import Records
from mulgil.sources.collector.body import Body, TooLarge, UnknownEncoding, decompressed, read_events

ONE = {"a": 1, "text": "물길 \u2028 \n"}


def events(body: Body) -> list[Any]:
    """The body's events; checks on the way what the stream and delivery count on."""
    assert body.payload.endswith(b"\n")
    records = Records.of_lines(body.payload)
    assert len(records) == body.count
    return [json.loads(records[index]) for index in range(len(records))]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (json.dumps(ONE), 1),
        (json.dumps(ONE, indent=2), 1),
        (json.dumps(ONE, indent=2).replace("\n", "\r\n"), 1),
        (json.dumps(ONE, indent=2).replace("\n", "\r"), 1),
        (json.dumps([ONE, ONE]), 2),
        (json.dumps([ONE, ONE, ONE], indent="\t"), 3),
        (f" \n\t{json.dumps([ONE])}\n \n", 1),
        (f"{json.dumps(ONE)}\n{json.dumps(ONE)}", 2),
        (f"{json.dumps(ONE)}\r\n{json.dumps(ONE)}\r\n", 2),
        (f"\n\n{json.dumps(ONE)}\n\n\r\n{json.dumps(ONE)}\n\n", 2),
        (f"  {json.dumps(ONE)}  \n\t{json.dumps(ONE)}\t\r\n   \n", 2),
        (f"{json.dumps(ONE)}\r\r\n", 1),
        (f"{json.dumps(ONE)}\r\r\n{json.dumps(ONE)} \r", 2),
        ("\ufeff" + json.dumps(ONE), 1),
        ("\ufeff" + json.dumps([ONE, ONE]), 2),
        (" " * 100 + json.dumps(ONE), 1),
        ('{"a":1,\r"text":"물길 \u2028 \\n"}\n{"a":1,"text":"물길 \u2028 \\n"}', 2),
        (json.dumps(ONE, ensure_ascii=False), 1),
    ],
)
def test_every_way_to_write_events_becomes_one_a_line(data: str, count: int) -> None:
    assert events(read_events(data.encode())) == [ONE] * count


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", ["empty"]),
        (b" \n\r\n ", ["empty"]),
        (b"\xef\xbb\xbf", ["empty"]),
        (b"[]", ["empty"]),
        (b"17", ["line 1: "]),
        (b'"text"', ["line 1: "]),
        (b"null", ["line 1: "]),
        (b"[1]", ["array", "[0]"]),
        (b'[{"a":1},{"b":]', ["array"]),
        (b'[{"a":1}', ["array"]),
        (b'{"a":1}\n{"b":}\n{"c":1}\nx\n', ["line 2: ", "line 4: "]),
        (b'{"a":1}\n\n\n{"b":1}}\n', ["line 4: "]),
        (b'{"a":NaN}', ["line 1: "]),
        (b'{"a":1}\n{"a":Infinity}', ["line 2: "]),
        (b'{"a":1}\n{"a":', ["line 2: "]),
        (b'{"a":1}{"b":2}', ["line 1: "]),
        (b'{"a":1}\n{"a":1} {"b":2}\n', ["line 2: "]),
        (b'{"a":1}\n[{"b":2}]\n', ["line 2: "]),
        (b'{"a":1}\n{"b":"\xff"}', ["line 2: not UTF-8"]),
        (b'{"a":1}\n{"b":"\xed\xa0\x80"}', ["line 2: not UTF-8"]),
        (b"{'a':1}", ["line 1: "]),
        (b'{"a":1,}', ["line 1: "]),
        (b'{"a":"line\nbreak"}', ["line 1: "]),
        (b'{"a":"\t"}', ["line 1: "]),
        (b"x=1&y=2", ["line 1: "]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(data: bytes, named: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        read_events(data)
    for text in named:
        assert text in refused.value.what


def test_not_more_than_ten_mistakes_are_named() -> None:
    with pytest.raises(Invalid) as refused:
        read_events(b"x\n" * 1000)
    assert refused.value.what.count("line ") == 10


@pytest.mark.parametrize("head", ['{"a":', "[", '[{"a":', '{"a":[{"b":'])
@pytest.mark.parametrize("levels", [500, 100_000])
def test_deep_nesting_is_refused_or_taken_and_never_a_crash(head: str, levels: int) -> None:
    closing = head.replace('"a":', "").replace('"b":', "")[::-1].translate(str.maketrans("{[", "}]"))
    data = head * levels + "1" + closing * levels
    for body in (data, f"{{}}\n{data}", f'[{{"x":{data}}}]'):
        if levels > 1000 or not body.startswith(("{", "[{")):
            with pytest.raises(Invalid, match=r"nested|expected|array"):
                read_events(body.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    OBJECTS, st.sampled_from([None, 1]), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]), st.booleans()
)
def test_events_come_out_as_they_went_in(
    given_events: list[dict[str, Any]], indent: int | None, ascii_only: bool, between: str, as_array: bool
) -> None:
    texts = [json.dumps(one, ensure_ascii=ascii_only, indent=indent if as_array else None) for one in given_events]
    text = json.dumps(given_events, ensure_ascii=ascii_only, indent=indent) if as_array else between.join(texts)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return  # half a surrogate
    with suppress(TooBig):
        assert events(_taken(data)) == given_events


class TooBig(Exception):  # noqa: N818
    """A number that no double can say."""


def _taken(data: bytes) -> Body:
    try:
        return read_events(data)
    except Invalid as refused:
        if "range" not in refused.what:
            raise
        raise TooBig from refused


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{", "}", "[", "]", '"a"', ":", ",", "1", "\n", "\r", " ", "\x0b", '{"a":1}', "{}"]),
        max_size=12,
    )
)
def test_whatever_is_taken_has_as_many_lines_as_it_says(pieces: list[str]) -> None:
    try:
        body = read_events("".join(pieces).encode())
    except Invalid:
        return
    assert all(isinstance(one, dict) for one in events(body))


# Content-Encoding

PLAIN = b'{"a":1}\n' * 1000


def frames(*parts: bytes) -> bytes:
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)


def members(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("", PLAIN),
        ("identity", PLAIN),
        ("gzip", members(PLAIN)),
        (" GZIP ", members(PLAIN)),
        ("x-gzip", members(PLAIN[:100], b"", PLAIN[100:])),
        ("zstd", frames(PLAIN)),
        ("zstd", frames(PLAIN[:100], PLAIN[100:])),
    ],
    ids=range(7),
)
def test_packed_bodies_are_unpacked(encoding: str, data: bytes) -> None:
    assert decompressed(data, encoding, len(PLAIN)) == PLAIN
    with pytest.raises(TooLarge):
        decompressed(data, encoding, len(PLAIN) - 1)


@pytest.mark.parametrize("pack", [members, frames])
@pytest.mark.parametrize("cut", [1, 4, 9, 20])
def test_a_packed_body_that_ends_too_early_is_refused_also_at_the_end_of_a_line(pack: Any, cut: int) -> None:
    encoding = "gzip" if pack is members else "zstd"
    for data in (pack(PLAIN), pack(PLAIN, PLAIN)):
        with pytest.raises(Invalid, match="damaged"):
            decompressed(data[:-cut], encoding, 1 << 20)


@pytest.mark.parametrize(
    ("encoding", "data"), [("gzip", PLAIN), ("zstd", PLAIN), ("gzip", members(PLAIN)[:-6] + b"\0" * 6)], ids=range(3)
)
def test_a_damaged_body_is_refused(encoding: str, data: bytes) -> None:
    with pytest.raises(Invalid, match="damaged"):
        decompressed(data, encoding, 1 << 20)


def test_an_encoding_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownEncoding, match="br"):
        decompressed(PLAIN, "br", 1 << 20)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(bytes(64 << 20), 9)),
        ("zstd", frames(bytes(64 << 20))),
        ("gzip", gzip.compress(b"", mtime=0) * 100_000),
    ],
    ids=["gzip", "zstd", "members"],
)
def test_bombs_are_cheap(encoding: str, bomb: bytes) -> None:
    began_s = time.process_time()
    if len(bomb) > 1_000_000:
        assert decompressed(bomb, encoding, 1 << 20) == b""
    else:
        with pytest.raises(TooLarge):
            decompressed(bomb, encoding, 1 << 20)
    assert time.process_time() - began_s < 2


@pytest.mark.parametrize("body", [b"{}\n" * 100_001, b"[" + b"{}," * 100_000 + b"{}]", b"[" + b"{}," * 2_000_000])
def test_more_events_than_a_request_may_hold_are_refused(body: bytes) -> None:
    with pytest.raises(TooLarge, match=r"events|objects"):
        read_events(body)
    assert read_events(b"{}\n" * 100_000).count == 100_000
