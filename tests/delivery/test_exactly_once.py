"""Whatever fails and wherever: each record ends in the lake once, the books balance, nothing is left lying about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_line import Failpoints, SmallLine, event

from mulgil.delivery import Target


def storm(folder: Path, seed: int) -> None:
    failpoints = Failpoints(seed, rate=0.08)
    line = SmallLine(folder, Target("bronze.web", event_id="event_id"), shards=2, failpoints=failpoints)
    chance = failpoints.random
    sent: set[int] = set()
    keyed: dict[str, tuple[list[dict[str, Any]], int]] = {}
    bad = 0
    try:
        for number in range(25):
            batch = [event(chance.randrange(400)) for _ in range(chance.randint(1, 20))]
            more: list[bytes] = [b'{"broken":'] * (chance.random() < 0.3)
            if number % 7 == 3:
                batch[0][f"column_{number}"] = number
            key = f"key-{chance.randrange(20)}" if chance.random() < 0.3 else ""
            for _ in range(chance.randint(1, 2)):  # clients send again
                line.post(*batch, *more, key=key, shard=chance.randrange(2))
                if not key:
                    sent |= {one["n"] for one in batch}
                    bad += len(more)
            if key:
                keyed.setdefault(key, (batch, len(more)))
            line.deliver_somehow()
            line.clock.turn(600)
        for batch, count in keyed.values():
            sent |= {one["n"] for one in batch}
            bad += count
        failpoints.rate = 0.0
        line.restart()
        line.deliver()
        assert line.numbers() == sorted(sent), f"seed {seed}"
        assert len(line.quarantined()) == bad, f"seed {seed}"
        assert line.differences() == [], f"seed {seed}"
        assert line.strays() == [], f"seed {seed}"
        assert failpoints.failed > 5, "the storm was none"
    finally:
        line.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_when_any_call_may_fail(folder: Path, seed: int) -> None:
    storm(folder, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_nothing_is_lost_or_doubled_in_many_storms(folder: Path, seed: int) -> None:
    storm(folder, seed)
