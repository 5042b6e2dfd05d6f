"""Group commit: who waits together is answered together."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Broken, Overloaded, Retry
from mulgil.stream.frame import Run
from mulgil.stream.group import GroupCommit
from mulgil.stream.settings import StreamSettings
from mulgil.stream.shard import Shard
from mulgil.stream.stream import Answer, Appended, Done, Notify


class Gate:
    """A sync that waits until the test lets it go, and can fail."""

    def __init__(self) -> None:
        self.reached: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.open: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.free = False

    def sync(self, file: int) -> None:
        if not self.free:
            self.reached.put(None)
            if not self.open.get(timeout=30):
                raise OSError(5, "Input/output error")
        os.fdatasync(file)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def writer(tmp_path: Path, gate: Gate) -> Iterator[GroupCommit]:
    shard = Shard(tmp_path / "shard", 0, StreamSettings(disk_free_bytes_min=0), TurnedClock(), sync=gate.sync)
    writer = GroupCommit(shard, 10_000)
    yield writer
    gate.free = True
    gate.open.put(True)
    writer.close()
    shard.close()


def run_of(done: Done, notify: Notify | None = None, size: int = 2) -> Run:
    return Run(b"x" * (size - 1) + b"\n", 1, "", b"", done, notify)


def test_nobody_is_answered_before_the_sync_and_the_next_group_gathers_meanwhile(
    writer: GroupCommit, gate: Gate
) -> None:
    groups: queue.SimpleQueue[Any] = queue.SimpleQueue()
    writer.submit(run_of(print, groups.put))
    gate.reached.get(timeout=30)
    for _ in range(5):
        writer.submit(run_of(print, groups.put))
    assert groups.empty()
    gate.open.put(True)
    assert [answer for _, answer in groups.get(timeout=30)] == [Appended(0, 0, 1)]
    gate.reached.get(timeout=30)
    assert groups.empty()
    gate.open.put(True)
    assert [answer for _, answer in groups.get(timeout=30)] == [Appended(0, i, 1) for i in range(1, 6)]


def test_too_much_that_waits_is_refused_until_it_is_written(writer: GroupCommit, gate: Gate) -> None:
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    writer.submit(run_of(answers.put, size=20_000))  # alone, even more than the limit is taken
    gate.reached.get(timeout=30)
    with pytest.raises(Overloaded):
        writer.submit(run_of(answers.put))
    gate.free = True
    gate.open.put(True)
    assert answers.get(timeout=30) == Appended(0, 0, 1)
    told = threading.Event()
    while not told.is_set():  # the answer comes just before the room is given back
        try:
            writer.submit(run_of(lambda _: told.set()))
            assert told.wait(30)
        except Overloaded:
            pass


def test_a_failed_sync_fails_the_group_and_the_next_one_is_written(writer: GroupCommit, gate: Gate) -> None:
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    writer.submit(run_of(answers.put))
    gate.reached.get(timeout=30)
    gate.free = True
    gate.open.put(False)
    assert isinstance(answers.get(timeout=30), Retry)
    writer.submit(run_of(answers.put))
    assert answers.get(timeout=30) == Appended(0, 0, 1)


def test_closing_writes_and_answers_what_waits(writer: GroupCommit, gate: Gate) -> None:
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    for _ in range(3):
        writer.submit(run_of(answers.put))
    gate.free = True
    gate.open.put(True)
    writer.close()
    assert [answers.get(timeout=0) for _ in range(3)] == [Appended(0, i, 1) for i in range(3)]
    with pytest.raises(Retry, match="closed"):
        writer.submit(run_of(answers.put))


def test_a_closed_event_loop_does_not_stop_the_others(writer: GroupCommit, gate: Gate) -> None:
    def closed(answers: object) -> None:
        raise RuntimeError("Event loop is closed")

    gate.free = True
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    writer.submit(run_of(print, closed))
    writer.submit(run_of(answers.put))
    assert answers.get(timeout=30) == Appended(0, 1, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_stops_the_shard_and_nobody_waits_for_ever(writer: GroupCommit, gate: Gate) -> None:
    def wrong(answer: Answer) -> None:
        raise ValueError("a mistake of the caller")

    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    writer.submit(run_of(wrong))
    gate.reached.get(timeout=30)
    writer.submit(run_of(answers.put))
    gate.open.put(True)
    assert isinstance(answers.get(timeout=30), Broken)
    with pytest.raises(Broken):
        writer.submit(run_of(answers.put))
