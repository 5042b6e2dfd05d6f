"""What every stream must do, whatever keeps its bytes."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Invalid, Missing, Retry
from mulgil.stream import Answer, Appended, EmbeddedStream, Frame, MemoryStream, Stream, StreamSettings

Open = Callable[..., Stream]


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture(params=["memory", "embedded"])
def open_stream(request: pytest.FixtureRequest, tmp_path: Path, clock: TurnedClock) -> Iterator[Open]:
    opened: list[Stream] = []

    def open_it(readers: dict[str, dict[int, int]] | None = None, **settings: Any) -> Stream:
        settings = {"disk_free_bytes_min": 0, "segment_bytes": 65536} | settings
        stream: Stream
        if request.param == "memory":
            stream = MemoryStream(StreamSettings(**settings), clock, readers=readers)
        else:
            stream = EmbeddedStream(tmp_path / "stream", StreamSettings(**settings), clock, readers=readers)
        opened.append(stream)
        return stream

    yield open_it
    for stream in opened:
        stream.close()


def put(stream: Stream, payload: bytes, count: int = 1, **more: Any) -> Appended:
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    stream.append(payload, count, done=answers.put, **more)
    answer = answers.get(timeout=30)
    assert isinstance(answer, Appended), answer
    return answer


def read_all(stream: Stream, shard: int = 0, start: int = 0, bytes_max: int = 1000) -> list[Frame]:
    found: list[Frame] = []
    while frames := stream.read(shard, start, bytes_max):
        assert frames[0].first <= start
        found += frames
        start = frames[-1].first + frames[-1].count
    assert start == stream.ends()[shard]
    return found


def test_records_are_numbered_from_zero_without_holes(open_stream: Open) -> None:
    stream = open_stream()
    assert stream.ends() == stream.starts() == [0]
    assert put(stream, b"a\nb\n", 2) == Appended(0, 0, 2)
    assert put(stream, b"c\n") == Appended(0, 2, 1)
    assert stream.ends() == [3]
    assert stream.starts() == [0]


def test_what_was_appended_is_read_back_with_its_time(open_stream: Open, clock: TurnedClock) -> None:
    stream = open_stream()
    put(stream, b"a\n")
    clock.turn(5)
    put(stream, b"b\nc\n", 2)
    first, second = read_all(stream)
    assert (first.first, first.count, first.payload, first.entries) == (0, 1, b"a\n", ())
    assert (second.first, second.count, second.payload) == (1, 2, b"b\nc\n")
    assert second.appended_us == clock.now_us() == first.appended_us + 5_000_000


def test_key_and_meta_come_back_with_the_run_they_belong_to(open_stream: Open) -> None:
    stream = open_stream()
    put(stream, b"a\n", 1, key="k-\udcff-é", meta=b"\0m")
    put(stream, b"b\n", 1, meta=b"only")
    put(stream, b"c\n", 1)
    entries = [(entry.key, entry.meta, entry.count, entry.byte_length) for f in read_all(stream) for entry in f.entries]
    assert entries == [("k-\udcff-é", b"\0m", 1, 2), ("", b"only", 1, 2)]


@pytest.mark.parametrize("seed", range(5))
def test_concurrent_appends_are_all_there_once_and_in_each_producers_order(open_stream: Open, seed: int) -> None:
    stream = open_stream(shards=3, frame_bytes_max=4000)
    produced: dict[tuple[int, int], tuple[bytes, int, int, str]] = {}
    answers: queue.SimpleQueue[tuple[int, bytes, int, str, Answer]] = queue.SimpleQueue()

    def produce(producer: int) -> None:
        chance = random.Random(f"{seed}/{producer}")
        for number in range(60):
            count = chance.randint(1, 5)
            line = b"%d/%d/" % (producer, number) + b"x" * chance.choice([1, 50, 900])
            payload = b"".join(line + b"/%d\n" % i for i in range(count))
            key = chance.choice(["", f"{producer}-{number}"])
            shard = chance.randrange(3)
            stream.append(
                payload,
                count,
                shard=shard,
                key=key,
                done=lambda answer, given=(producer, payload, count, key): answers.put((*given, answer)),
            )

    threads = [threading.Thread(target=produce, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    last_of: dict[tuple[int, int], int] = {}
    for _ in range(240):
        producer, payload, count, key, answer = answers.get(timeout=30)
        assert isinstance(answer, Appended)
        assert answer.count == count
        assert last_of.get((producer, answer.shard), -1) < answer.first
        last_of[producer, answer.shard] = answer.first
        produced[answer.shard, answer.first] = (payload, count, producer, key)
    for thread in threads:
        thread.join()
    for shard in range(3):
        frames = read_all(stream, shard, bytes_max=seed * 3000 + 1)
        runs = [(first, *rest) for (at, first), rest in sorted(produced.items()) if at == shard]
        assert b"".join(frame.payload for frame in frames) == b"".join(run[1] for run in runs)
        assert sum(frame.count for frame in frames) == sum(run[2] for run in runs) == stream.ends()[shard]
        found = [
            (f.first + e.first_index, f.payload[e.byte_offset : e.byte_offset + e.byte_length], e.count, e.key)
            for f in frames
            for e in f.entries
        ]
        assert found == [(first, payload, count, key) for first, payload, count, _, key in runs if key]


def test_read_begins_with_the_frame_that_contains_the_sequence(open_stream: Open) -> None:
    stream = open_stream()
    put(stream, b"a\n" * 10, 10)
    put(stream, b"b\n" * 10, 10)
    assert [frame.first for frame in stream.read(0, 9, 1_000_000)] == [0, 10]
    assert [frame.first for frame in stream.read(0, 10, 1_000_000)] == [10]
    assert [frame.first for frame in stream.read(0, 19, 1_000_000)] == [10]
    assert stream.read(0, 20, 1_000_000) == []
    assert stream.read(0, 1000, 1_000_000) == []


def test_read_gives_about_what_was_asked_for_and_never_less_than_a_frame(open_stream: Open) -> None:
    stream = open_stream()
    for _ in range(4):
        put(stream, b"x" * 999 + b"\n")
    assert len(stream.read(0, 0, 1)) == 1
    assert len(stream.read(0, 0, 2500)) == 2
    assert len(stream.read(0, 0, 100_000)) == 4


def test_a_read_from_the_middle_of_a_frame_gives_no_more_than_others(open_stream: Open) -> None:
    stream = open_stream()
    for _ in range(8):
        put(stream, b"x" * 499 + b"\n" + b"y" * 499 + b"\n", 2)
    assert [frame.first for frame in stream.read(0, 5, 2500)] == [4, 6]


def test_an_append_larger_than_a_frame_or_a_segment_comes_alone(open_stream: Open) -> None:
    stream = open_stream(frame_bytes_max=100)
    put(stream, b"a\n")
    put(stream, b"b" * 200_000 + b"\n")
    put(stream, b"c\n")
    assert [len(frame.payload) for frame in read_all(stream)] == [2, 200_001, 2]


def test_one_notify_answers_a_whole_group(open_stream: Open) -> None:
    stream = open_stream()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    seen: list[tuple[str, Answer]] = []

    for name in "abc":
        stream.append(b"x\n", 1, done=lambda answer, name=name: seen.append((name, answer)), notify=told.put)
    while len(seen) < 3:
        for done, answer in told.get(timeout=30):
            done(answer)
    assert seen == [("a", Appended(0, 0, 1)), ("b", Appended(0, 1, 1)), ("c", Appended(0, 2, 1))]


def test_what_cannot_be_appended_is_refused(open_stream: Open) -> None:
    stream = open_stream()

    def never(answer: Answer) -> None:
        raise AssertionError(answer)

    for payload, count, more in (
        (b"", 1, {}),
        (b"a\n", 0, {}),
        (b"a\n", 3, {}),
        (b"a\n", 1, {"key": "k" * 1025}),
        (b"a\n", 1, {"meta": b"m" * (1024 * 1024 + 1)}),
    ):
        with pytest.raises(Invalid):
            stream.append(payload, count, done=never, **more)  # type: ignore[arg-type]
    for shard in (-1, 1):
        with pytest.raises(Missing):
            stream.append(b"a\n", 1, shard=shard, done=never)
        with pytest.raises(Missing):
            stream.read(shard, 0, 1)
        with pytest.raises(Missing):
            stream.checkpoint("reader", shard, 0)
    assert stream.ends() == [0]


def test_a_closed_stream_says_so_and_has_answered_everything(open_stream: Open) -> None:
    stream = open_stream()
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    for _ in range(50):
        stream.append(b"a\n", 1, done=answers.put)
    stream.close()
    stream.close()
    assert [answers.get(timeout=0) for _ in range(50)] == [Appended(0, i, 1) for i in range(50)]
    with pytest.raises(Retry, match="closed"):
        stream.append(b"a\n", 1, done=answers.put)


def test_keys_go_to_a_stable_shard_and_spread(open_stream: Open) -> None:
    stream = open_stream(shards=4)
    assert [stream.shard_for(key) for key in ("", "a", "clinic-1", "물길")] == [0, 3, 0, 1]
    counts = [0] * 4
    for number in range(4000):
        counts[stream.shard_for(f"visitor-{number}")] += 1
    assert min(counts) > 850


def fill(stream: Stream, clock: TurnedClock, hours: int, shard: int = 0) -> None:
    """An append of 40 kB an hour: with segments of 64 KiB, each has one of its own."""
    for _ in range(hours):
        put(stream, b"x" * 39_999 + b"\n", shard=shard)
        clock.turn(3600)


def test_trim_deletes_what_is_old(open_stream: Open, clock: TurnedClock) -> None:
    stream = open_stream(retention_hours=4)
    fill(stream, clock, 10)
    before = stream.size_bytes()
    freed = stream.trim(clock.now_us())
    assert freed == before - stream.size_bytes()
    assert stream.starts()[0] in (5, 6)
    assert stream.trim(clock.now_us()) == 0
    assert len(read_all(stream, start=stream.starts()[0])) == 10 - stream.starts()[0]
    with pytest.raises(Missing):
        stream.read(0, 0, 1)
    assert put(stream, b"y\n").first == 10


def test_trim_deletes_what_is_too_much_oldest_first_over_all_shards(open_stream: Open, clock: TurnedClock) -> None:
    stream = open_stream(retention_bytes=250_000, shards=2)
    for _ in range(5):
        fill(stream, clock, 1, shard=0)
        fill(stream, clock, 1, shard=1)
    stream.trim(clock.now_us())
    assert 160_000 < stream.size_bytes() <= 250_000
    assert stream.starts() == [2, 2]


def test_trim_waits_for_the_slowest_reader(open_stream: Open, clock: TurnedClock) -> None:
    stream = open_stream(readers={"slow": {0: 3}, "quick": {0: 8}}, retention_hours=1, retention_bytes=0)
    fill(stream, clock, 10)
    clock.turn(100 * 3600)
    stream.trim(clock.now_us())
    assert stream.starts() == [3]
    stream.checkpoint("slow", 0, 9)
    stream.trim(clock.now_us())
    assert stream.starts() == [8]
    stream.checkpoint("new", 0, 0)
    stream.checkpoint("quick", 0, 10)
    assert stream.trim(clock.now_us()) == 0
    stream.forget("new")
    stream.trim(clock.now_us())
    assert stream.starts() == [9]


def test_a_reader_that_has_said_nothing_of_a_shard_holds_all_of_it(open_stream: Open, clock: TurnedClock) -> None:
    stream = open_stream(readers={"reader": {1: 5}}, shards=2, retention_bytes=0)
    fill(stream, clock, 5, shard=0)
    fill(stream, clock, 5, shard=1)
    stream.trim(clock.now_us())
    assert stream.starts()[0] == 0
    assert stream.starts()[1] >= 4
