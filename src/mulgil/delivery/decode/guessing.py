"""How much of a block Arrow's JSON reader may guess the columns of at a time. Called by `json.py`.

The reader makes a column of every key that it meets, as long as the block: 11 MB of records with ever new keys once
took 12 GB. Rows times keys is therefore bounded, by the colons, of which there are at least as many as keys.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial

import numpy as np

from mulgil.delivery.decode.lines import octets_of
from mulgil.record import Records

CELLS_MAX = 1 << 25
"""Rows times keys that are read at a time; a cell takes up to some ten bytes."""

KEYS_MAX = 1 << 15
"""Keys that are read at a time; a column takes about a kilobyte even when it is short."""

_COLON = 0x3A


def may_guess(records: Records) -> bool:
    """Whether the records are so few, or have so few keys, that whatever they hold fits into memory."""
    first, last = int(records.starts[0]), int(records.ends[-1])
    keys = int(np.count_nonzero(octets_of(records)[first:last] == _COLON))
    return keys <= KEYS_MAX and keys * len(records) <= CELLS_MAX


def ranges(records: Records) -> list[tuple[int, int]]:
    """Rows `start` to `end` of each piece that may be guessed at; a single record may have more keys than that."""
    places = np.flatnonzero(octets_of(records) == _COLON)
    before = np.append(np.searchsorted(places, records.starts), len(places)).tolist()
    found, start, count = [], 0, len(records)
    while start < count:
        size = bisect_right(range(1, count - start + 1), 0, key=partial(_too_many, before, start))
        found.append((start, start + max(1, size)))
        start += max(1, size)
    return found


def _too_many(before: list[int], start: int, rows: int) -> int:
    """1 where a piece of so many rows would be too large, else 0."""
    keys = before[start + rows] - before[start]
    return int(keys > KEYS_MAX or keys * rows > CELLS_MAX)
