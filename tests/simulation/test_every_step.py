"""The process dies, or the disk refuses, at every single step of a small story; nothing is lost, doubled or misbooked.

Where random kills find the wide windows, this finds the narrow ones: all of them, one by one.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from breaking_world import Breaker, World

from mulgil.delivery import keys, positions

MEMORY = Path("/dev/shm")
HOWS = ("crash", "error")


@pytest.fixture(autouse=True)
def _no_space_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot allocate blocks ahead, as some cannot; in memory it would take longer than all the rest."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse)


def play(first: Breaker, *later: Breaker) -> tuple[list[str], list[str], int]:
    """The story from its beginning: its steps, what is wrong at the end, and how often it was broken."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        world = World(Path(folder), first, *later)
        try:
            return world.play(), world.wrong(), world.crashes
        finally:
            world.close()


def broken_at(places: Sequence[int], how: str) -> list[str]:
    """What went wrong, with the step that was broken."""
    found = []
    for at in places:
        steps, wrong, _ = play(Breaker(at, how))
        assert len(steps) >= at, f"step {at} never came"
        found += [f"{how} at step {at}, {steps[at - 1]}: {one}" for one in wrong]
    return found


def test_the_story_covers_every_kind_of_step_and_ends_well() -> None:
    steps, wrong, crashes = play(Breaker())
    assert (wrong, crashes) == ([], 0)
    assert {step for step in steps if "data" in step or "transaction" not in step} >= {
        "before put data", "before put manifest", "before put metadata", "after put", "before begin", "before commit",
        "after commit", "before write data", "after write", "before delete data", "before delete manifest",
    }  # fmt: skip


def test_a_break_at_the_first_and_the_last_step_of_each_kind_loses_nothing() -> None:
    steps, _, _ = play(Breaker())
    first = {step: number for number, step in reversed([*enumerate(steps, 1)])}
    last = {step: number for number, step in enumerate(steps, 1)}
    assert broken_at(sorted(last.values()), "crash") + broken_at(sorted(first.values()), "error") == []


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("part", range(4))
def test_a_break_at_every_step_loses_nothing(how: str, part: int) -> None:
    steps, _, _ = play(Breaker())
    assert broken_at(range(1 + part, len(steps) + 1, 4), how) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_crashes_while_recovering_from_crashes_lose_nothing(seed: int) -> None:
    random = Random(seed)
    first = Breaker(random.randint(1, 250))
    later = [Breaker(random.choice((random.randint(1, 12), random.randint(1, 120)))) for _ in range(4)]
    _, wrong, _ = play(first, *later)
    assert wrong == []


def test_a_line_that_forgot_keys_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "store", lambda *_: None)
    _, wrong, _ = play(Breaker())
    assert any(one.startswith("events") for one in wrong)


def test_a_line_that_forgot_positions_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "store", lambda *_: None)
    _, wrong, _ = play(Breaker())
    assert any(one.startswith("lines") for one in wrong)
    assert any("ledger" in one for one in wrong)
