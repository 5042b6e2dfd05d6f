"""The frame's format, byte for byte."""

from __future__ import annotations

import struct
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from mulgil.stream import frame
from mulgil.stream.frame import Run
from mulgil.stream.stream import Entry


def run_of(payload: bytes, count: int = 1, key: str = "", meta: bytes = b"") -> Run:
    return Run(payload, count, key, meta, lambda _: None, None)


RUNS = st.lists(
    st.builds(
        run_of,
        st.binary(min_size=1, max_size=50),
        st.integers(1, 9),
        st.text(st.characters(), max_size=5),
        st.binary(max_size=5),
    ),
    max_size=20,
)


def test_the_format_is_the_documented_one() -> None:
    packed = frame.pack(
        [run_of(b"a\n"), run_of(b"b\nc\n", 2, "k", b"me")], identity=7, first=5, durable=4, appended_us=9
    )
    data = b"".join(packed.buffers)
    entries = struct.pack("<IIIIHI", 1, 2, 2, 4, 1, 2) + b"kme"
    rest = struct.pack("<IHHQQQQIIII", crc32(entries + b"a\nb\nc\n"), 1, 0, 7, 5, 4, 9, 3, len(entries), 6, 0)
    assert data == b"MgFr" + struct.pack("<I", crc32(rest)) + rest + entries + b"a\nb\nc\n"
    assert len(rest) + 8 == frame.HEADER_BYTES == 64


@given(RUNS, st.integers(0, 2**63), st.integers(0, 2**40))
def test_what_is_packed_is_unpacked(runs: list[Run], identity: int, first: int) -> None:
    packed = frame.pack(runs, identity=identity, first=first, durable=first, appended_us=1)
    data = b"before" + b"".join(packed.buffers) + b"after"
    header = frame.unpack_header(data, 6, identity)
    assert header is not None
    assert header.size == packed.size == len(data) - 11
    assert frame.body_is_whole(data, 6, header)
    read = frame.unpack(data, 6, header, 3)
    assert (read.shard, read.first, read.count) == (3, first, sum(run.records for run in runs))
    assert read.payload == b"".join(run.payload for run in runs)
    assert read.entries == tuple(frame.entries_of(runs))
    assert [(entry.key, entry.meta) for entry in read.entries] == [
        (run.key, run.meta) for run in runs if run.key or run.meta
    ]


def test_any_flipped_bit_is_noticed() -> None:
    packed = frame.pack([run_of(b"abc\n", 1, "key", b"meta")], identity=7, first=5, durable=4, appended_us=9)
    whole = b"".join(packed.buffers)
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        header = frame.unpack_header(bytes(data), 0, 7)
        assert header is None or not frame.body_is_whole(bytes(data), 0, header), bit


def test_a_frame_of_another_segment_is_none() -> None:
    data = b"".join(frame.pack([run_of(b"a\n")], identity=7, first=0, durable=0, appended_us=0).buffers)
    assert frame.unpack_header(data, 0, 8) is None
    assert frame.unpack_header(data, 0, None) is not None
    assert frame.unpack_header(data[:63], 0, 7) is None


def test_small_payloads_are_joined_and_large_ones_handed_over_as_they_are() -> None:
    large = b"x" * 100_000
    buffers = frame.pack([run_of(large), run_of(large)], identity=0, first=0, durable=0, appended_us=0).buffers
    assert buffers[1] is large
    assert len(frame.pack([run_of(b"a\n")] * 50, identity=0, first=0, durable=0, appended_us=0).buffers) == 2


@given(RUNS, st.integers(1, 300))
def test_frames_are_filled_in_order_and_not_beyond_their_size(runs: list[Run], bytes_max: int) -> None:
    frames = list(frame.coalesce(runs, bytes_max))
    assert [run for part in frames for run in part] == runs
    for part in frames:
        packed = frame.pack(part, identity=0, first=0, durable=0, appended_us=0)
        assert len(part) == 1 or packed.size - frame.HEADER_BYTES <= bytes_max


def test_entries_say_where_each_append_lies() -> None:
    runs = [run_of(b"a\nb\n", 2), run_of(b"c\n", 1, "k"), run_of(b"d\n"), run_of(b"e\n", 1, meta=b"m")]
    assert list(frame.entries_of(runs)) == [Entry(2, 1, 4, 2, "k", b""), Entry(4, 1, 8, 2, "", b"m")]
