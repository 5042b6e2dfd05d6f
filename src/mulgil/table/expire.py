"""Which snapshots stay, and which files nobody can see any more.

A file is visible from the snapshot that brought it until the one that removed it. Both numbers are known when it is
removed, so that nothing has to be listed or read again: the record waits with the catalog until no snapshot between
the two is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulgil.table.settings import TableSettings


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that the newest snapshot does not need."""

    path: str
    added_sequence: int
    """The first snapshot that saw it."""
    removed_sequence: int
    """The first one after that does not."""


def sweepable(garbage: Iterable[Garbage], retained_sequences: Sequence[int]) -> list[Garbage]:
    """Those that no retained snapshot sees. Readers may still hold files open: delete them after some time of grace."""
    kept = sorted(retained_sequences)

    def seen(one: Garbage) -> bool:
        at = bisect_left(kept, one.added_sequence)
        return at < len(kept) and kept[at] < one.removed_sequence

    return [one for one in garbage if not seen(one)]


def retained(
    snapshots: Sequence[Mapping[str, Any]], pinned: Iterable[int], settings: TableSettings, now_ms: int
) -> list[Mapping[str, Any]]:
    """The snapshots to keep, of all in order of age: the newest densely, older ones with a distance, none too old.

    `pinned` are ids that branches and tags name; they stay, and so does the last one.
    """
    named = set(pinned) | {snapshots[-1]["snapshot-id"]} if snapshots else set()
    recent = min(settings.snapshots_recent, settings.snapshots_max)
    old, new = snapshots[: max(len(snapshots) - recent, 0)], snapshots[max(len(snapshots) - recent, 0) :]
    spacing_ms = settings.snapshot_spacing_s * 1000
    last_of = {one["timestamp-ms"] // spacing_ms: one["snapshot-id"] for one in old}
    oldest_ms = now_ms - settings.snapshot_age_s_max * 1000
    spaced = set(last_of.values())
    kept = [one for one in old if one["snapshot-id"] in spaced] + list(new)
    kept = [one for one in kept if one["timestamp-ms"] >= oldest_ms][-settings.snapshots_max :]
    stay = {one["snapshot-id"] for one in kept} | named
    return [one for one in snapshots if one["snapshot-id"] in stay]
