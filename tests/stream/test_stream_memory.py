"""What only the stream in memory does: a simulation is its disk."""

from __future__ import annotations

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Overloaded, Retry
from mulgil.stream import Answer, Appended, MemoryStream, StreamSettings


def test_held_appends_wait_and_are_answered_as_one_frame() -> None:
    stream = MemoryStream(StreamSettings(waiting_bytes_max=10), TurnedClock())
    answers: list[Answer] = []
    stream.hold()
    stream.append(b"a\n", 1, done=answers.append)
    stream.append(b"b\nc\nd\ne\n", 4, done=answers.append)
    with pytest.raises(Overloaded):
        stream.append(b"f\n", 1, done=answers.append)
    assert (answers, stream.ends(), stream.read(0, 0, 100)) == ([], [0], [])
    stream.release()
    assert answers == [Appended(0, 0, 1), Appended(0, 1, 4)]
    assert [frame.payload for frame in stream.read(0, 0, 100)] == [b"a\nb\nc\nd\ne\n"]
    stream.append(b"f\n", 1, done=answers.append)
    assert answers[-1] == Appended(0, 5, 1)


def test_a_failed_append_leaves_nothing() -> None:
    stream = MemoryStream(StreamSettings(), TurnedClock())
    answers: list[Answer] = []
    stream.hold()
    stream.append(b"a\n", 1, done=answers.append)
    stream.fail(Retry("the disk failed"))
    stream.release()
    assert [type(answer) for answer in answers] == [Retry]
    assert stream.ends() == [0]
