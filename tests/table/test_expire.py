"""Which snapshots stay, and which files nobody sees any more."""

from __future__ import annotations

from typing import Any

from mulgil.table import Garbage, TableSettings, sweepable
from mulgil.table.expire import retained

HOUR_MS = 3_600_000


def snapshot(sequence: int, time_ms: int) -> dict[str, Any]:
    return {"snapshot-id": sequence, "sequence-number": sequence, "timestamp-ms": time_ms}


def test_a_file_is_free_once_no_snapshot_from_its_time_is_kept() -> None:
    all_kept = [2, 5, 9]
    seen = [Garbage("a", 1, 3), Garbage("b", 5, 6), Garbage("c", 6, 10), Garbage("d", 1, 100)]
    free = [Garbage("e", 3, 5), Garbage("f", 6, 9), Garbage("g", 10, 12), Garbage("h", 0, 0), Garbage("i", 1, 2)]
    assert sweepable([*seen, *free], all_kept) == free
    assert sweepable(seen, [])[:] == seen


def test_the_newest_are_dense_and_older_ones_hours_apart() -> None:
    settings = TableSettings(snapshots_max=20, snapshots_recent=8)
    kept: list[Any] = []
    for sequence in range(1, 3000):  # one a minute, for two days
        kept = retained([*kept, snapshot(sequence, sequence * 60_000)], [], settings, sequence * 60_000)
        assert len(kept) <= 20
    assert [one["sequence-number"] for one in kept[-8:]] == list(range(2992, 3000))
    hours = [one["timestamp-ms"] // HOUR_MS for one in kept[:-8]]
    assert hours == list(range(hours[0], hours[0] + 12))
    assert kept[0]["timestamp-ms"] // HOUR_MS == 2999 * 60_000 // HOUR_MS - 11


def test_named_and_current_snapshots_stay_whatever_their_age() -> None:
    settings = TableSettings(snapshots_max=3, snapshots_recent=2, snapshot_age_s_max=60)
    snapshots = [snapshot(at, at) for at in range(1, 11)]
    kept = retained(snapshots, [4], settings, 10**9)
    assert [one["snapshot-id"] for one in kept] == [4, 10]
    assert retained([], [], settings, 0) == []
