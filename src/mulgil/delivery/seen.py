"""Event ids that are in the lake already: a set of 128-bit hashes in sorted runs, merged like a log-structured tree.

A commit adds one small run inside its transaction. Runs of one day and size are merged by fours, so that a day ends
with a handful; days that are no longer remembered are dropped whole. A look-up is a binary search of sorted hashes in
sorted runs, all of it in numpy. 25 million ids a day take 400 MB of disk a day, mapped and not loaded.

The hash is two independent 64-bit mixes of the id's words (the multiply-xorshift of MurmurHash3's finaliser). Two of
200 million ids collide with a probability below 1e-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.state import Database, Transaction
from mulgil.storage import Store

Hashes = npt.NDArray[np.uint64]
"""uint64[n, 2], sorted by the first column."""

TABLES = """
CREATE TABLE IF NOT EXISTS seen_run (
  number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, day INTEGER NOT NULL, ids INTEGER NOT NULL,
  inline BLOB, file TEXT) STRICT;
"""

DAY_US = 86_400_000_000
INLINE_IDS_MAX = 4_096
FAN_IN = 4


@dataclass(slots=True)
class Run:
    """Ids that were committed together, or merged since."""

    number: int
    day: int
    hashes: Hashes
    file: str | None

    @property
    def tier(self) -> int:
        """Runs of one tier differ in size by less than the fan-in."""
        return int(np.log2(max(1, len(self.hashes)))) // 2


class Seen:
    """The event ids of one source. Used by one flow."""

    def __init__(self, database: Database, store: Store, folder: Path, source: str, remember_days: int) -> None:
        self._database = database
        self._store = store
        self._folder = folder
        self._source = source
        self._remember_days = remember_days
        self._runs = self._load()

    def fresh(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """bool[n]: for each hash of uint64[n, 2] whether it is the first of its kind, here and in all runs."""
        self._refresh()
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal ids stay in order of arrival
        ordered = hashes[order]
        new = np.ones(len(ordered), dtype=bool)
        new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        for run in self._runs:
            new &= ~_contains(run.hashes, ordered)
        mask = np.empty(len(hashes), dtype=bool)
        mask[order] = new
        return mask

    def store(self, transaction: Transaction, hashes: Hashes, now_us: int) -> Run | None:
        """Remember these from now on, if the transaction succeeds: then hand the answer to `adopt`."""
        if not len(hashes):
            return None
        ordered = hashes[np.argsort(hashes[:, 0])]
        run = self._place(ordered, now_us // DAY_US)
        self._insert(transaction, run)
        return run

    def adopt(self, run: Run | None, now_us: int) -> None:
        """The transaction has succeeded. Merges and forgets where that is due."""
        if run is not None:
            self._runs.append(run)
        self._forget(now_us // DAY_US - self._remember_days)
        while (group := self._crowded()) is not None:
            self._merge(group)

    def _crowded(self) -> list[Run] | None:
        groups: dict[tuple[int, int], list[Run]] = {}
        for run in self._runs:
            group = groups.setdefault((run.day, run.tier), [])
            group.append(run)
            if len(group) == FAN_IN:
                return group
        return None

    def _merge(self, group: Sequence[Run]) -> None:
        together = np.concatenate([run.hashes for run in group])
        merged = self._place(together[np.argsort(together[:, 0])], group[0].day)
        with self._database.transaction() as transaction:
            self._drop(transaction, group)
            self._insert(transaction, merged)
        gone = {run.number for run in group}
        self._runs = [run for run in self._runs if run.number not in gone] + [merged]
        self._delete_files(group)

    def _forget(self, before_day: int) -> None:
        old = [run for run in self._runs if run.day < before_day]
        if old:
            with self._database.transaction() as transaction:
                self._drop(transaction, old)
            self._runs = [run for run in self._runs if run.day >= before_day]
            self._delete_files(old)

    def _place(self, hashes: Hashes, day: int) -> Run:
        """Small runs lie in the state, large ones in a file beside it that is durable before the state names it."""
        if len(hashes) <= INLINE_IDS_MAX:
            return Run(0, day, hashes, None)
        name = f"{day}-{hashes[0, 0]:016x}{hashes[-1, 1]:016x}-{len(hashes)}.ids"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store.put(str(self._folder / name), np.ascontiguousarray(hashes).tobytes())
        return Run(0, day, self._map(name), name)

    def _map(self, name: str) -> Hashes:
        return np.memmap(self._folder / name, dtype=np.uint64, mode="r").reshape(-1, 2)

    def _insert(self, transaction: Transaction, run: Run) -> None:
        inline = None if run.file else np.ascontiguousarray(run.hashes).tobytes()
        run.number = transaction.execute(
            "INSERT INTO seen_run (source, day, ids, inline, file) VALUES (?, ?, ?, ?, ?) RETURNING number",
            (self._source, run.day, len(run.hashes), inline, run.file),
        )[0][0]

    def _drop(self, transaction: Transaction, runs: Sequence[Run]) -> None:
        transaction.execute_many("DELETE FROM seen_run WHERE number = ?", [(run.number,) for run in runs])

    def _delete_files(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.file:
                self._store.delete(str(self._folder / run.file))

    def _load(self, after: int = 0) -> list[Run]:
        with self._database.read() as read:
            rows = read.execute(
                "SELECT number, day, inline, file FROM seen_run WHERE source = ? AND number > ? ORDER BY number",
                (self._source, after),
            )
        return [
            Run(
                number,
                day,
                np.frombuffer(inline, dtype=np.uint64).reshape(-1, 2) if file is None else self._map(file),
                file,
            )
            for number, day, inline, file in rows
        ]

    def _refresh(self) -> None:
        """Take in what another process (a redrive) has added since."""
        self._runs += self._load(after=max((run.number for run in self._runs), default=0))


def _contains(run: Hashes, ordered: Hashes) -> npt.NDArray[np.bool_]:
    """bool[len(ordered)]: which of the sorted hashes are in the sorted run. The shorter is searched in the longer."""
    found = np.zeros(len(ordered), dtype=bool)
    if len(run) < len(ordered):
        places = np.searchsorted(ordered[:, 0], run[:, 0], side="left")
        candidates = np.flatnonzero(places < len(ordered))
        candidates = candidates[ordered[places[candidates], 0] == run[candidates, 0]]
        for candidate in candidates:  # ids that really were seen, or 64-bit collisions: few by nature
            place = places[candidate]
            while place < len(ordered) and ordered[place, 0] == run[candidate, 0]:
                found[place] |= ordered[place, 1] == run[candidate, 1]
                place += 1
        return found
    keys = run[:, 0]
    places = np.searchsorted(keys, ordered[:, 0], side="left")
    inside = np.flatnonzero(places < len(run))
    inside = inside[keys[places[inside]] == ordered[inside, 0]]
    while len(inside):  # more than one round only where 64 bits collide
        at = places[inside]
        found[inside] |= run[at, 1] == ordered[inside, 1]
        places[inside] = at + 1
        inside = inside[at + 1 < len(run)]
        inside = inside[keys[places[inside]] == ordered[inside, 0]]
    return found


def hashed(ids: pa.Array) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """uint64[n, 2] for an Arrow array of strings (or of anything that can be written as one), and bool[n]: not null."""
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        ids = pc.cast(ids, pa.string())
    ids = pc.cast(ids, pa.large_string())
    valid = np.asarray(pc.is_valid(ids))
    _, offsets_buffer, data_buffer = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[ids.offset : ids.offset + len(ids) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    result = np.zeros((len(ids), 2), dtype=np.uint64)
    octets = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.zeros(0, dtype=np.uint8)
    for length in np.unique(lengths[valid]):  # ids of one kind have one length, so this loop is short
        rows = np.flatnonzero(valid & (lengths == length))
        words = np.zeros((len(rows), max(8, -(-int(length) // 8) * 8)), dtype=np.uint8)
        if len(rows) == len(ids):  # one length throughout: the characters lie side by side
            words[:, :length] = octets[starts[0] : starts[0] + length * len(rows)].reshape(len(rows), length)
        elif length:
            words[:, :length] = octets[starts[rows, None] + np.arange(length)]
        result[rows] = _mixed(words.view(np.uint64), int(length))
    return result, valid


def _mixed(words: npt.NDArray[np.uint64], length: int) -> Hashes:
    first = np.full(len(words), 0x9E3779B97F4A7C15 ^ length, dtype=np.uint64)
    second = np.full(len(words), 0xC2B2AE3D27D4EB4F ^ (length << 32), dtype=np.uint64)
    for column in words.T:
        first = _finalised((first ^ column) * np.uint64(0x9FB21C651E98DF25))
        second = _finalised((second + column) * np.uint64(0xD6E8FEB86659FD93))
    return np.stack((first, second), axis=1)


def _finalised(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))
