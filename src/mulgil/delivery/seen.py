"""Event ids that are in the lake already: a set of 128-bit hashes in sorted runs, merged like a log-structured tree.

A commit adds one small run inside its transaction. Runs of one day and size are merged by fours, so that a day ends
with a handful; days that are no longer remembered are dropped whole. A look-up is a binary search of sorted hashes in
sorted runs, all of it in numpy. 25 million ids a day take 400 MB of disk a day, mapped and not loaded.

The hash is two independent 64-bit mixes of the id's words (the multiply-xorshift of MurmurHash3's finaliser). Two of
200 million ids collide with a probability below 1e-21.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.outdated import Outdated
from mulgil.errors import Broken
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
HASH_BYTES = 16
FAN_IN = 4
STRAY_US = 3_600_000_000
"""A file that no run names is deleted after so long: before, somebody may be about to name it."""
READ_TRIES = 5


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
        self._newest = 0
        """The highest run number that this object knows of."""
        self._runs = self._load()

    def fresh(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """bool[n]: for each hash of uint64[n, 2] whether it is the first of its kind, here and in all runs."""
        self._refresh()
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal ids stay in order of arrival
        ordered = hashes[order]
        new = np.ones(len(ordered), dtype=bool)
        new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        for run in self._runs:
            first = np.flatnonzero(new)
            new[first[_contains(run.hashes, ordered[first])]] = False
        mask = np.empty(len(hashes), dtype=bool)
        mask[order] = new
        return mask

    def store(self, transaction: Transaction, hashes: Hashes, now_us: int) -> Run | None:
        """Remember these from now on, if the transaction succeeds: then hand the answer to `adopt`.

        Raises `Outdated` when another process has added ids since `fresh` was asked.
        """
        if not len(hashes):
            return None
        sql = "SELECT coalesce(max(number), 0) FROM seen_run WHERE source = ?"
        if transaction.execute(sql, (self._source,))[0][0] > self._newest:
            raise Outdated(f"another process has added event ids of {self._source}")
        ordered = hashes[np.argsort(hashes[:, 0])]
        run = self._place(ordered, now_us // DAY_US)
        self._insert(transaction, run)
        return run

    def adopt(self, run: Run | None) -> None:
        """The transaction has succeeded."""
        if run is not None:
            self._runs.append(run)
            self._newest = max(self._newest, run.number)

    def tidy(self, now_us: int) -> None:
        """Merge and forget where that is due. May fail like any commit, and is then done the next time."""
        self._forget(now_us // DAY_US - self._remember_days)
        while (group := self._crowded()) is not None:
            self._merge(group)

    def sweep(self, now_us: int) -> int:
        """Delete files that a crash left behind; how many. For the one process that merges, before it does."""
        if not self._folder.is_dir():
            return 0
        named = {run.file for run in self._runs}
        strays = [
            path
            for path in self._folder.iterdir()
            if path.name not in named and path.stat().st_mtime_ns // 1000 < now_us - STRAY_US
        ]
        for path in strays:
            self._store.delete(str(path))
        return len(strays)

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
        self._newest = max(self._newest, merged.number)
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
        for attempt in range(READ_TRIES):
            with self._database.read() as read:
                rows = read.execute(
                    "SELECT number, day, ids, inline, file FROM seen_run WHERE source = ? AND number > ?"
                    " ORDER BY number",
                    (self._source, after),
                )
            try:
                runs = [self._run(*row) for row in rows]
            except FileNotFoundError as error:  # merged by another process between the two reads
                if attempt == READ_TRIES - 1:
                    raise Broken(
                        "a file of event ids is missing", where=str(error.filename), hint="restore it beside the state"
                    ) from error
                continue
            self._newest = max([self._newest, *(run.number for run in runs)])
            return runs
        raise AssertionError("unreachable")

    def _run(self, number: int, day: int, ids: int, inline: bytes | None, file: str | None) -> Run:
        if file is None:
            return Run(number, day, np.frombuffer(inline or b"", dtype=np.uint64).reshape(-1, 2), None)
        if (self._folder / file).stat().st_size != ids * HASH_BYTES:
            raise Broken(f"a file of {ids} event ids has another size", where=str(self._folder / file))
        return Run(number, day, self._map(file), file)

    def _refresh(self) -> None:
        """Take in what another process (a redrive) has added since."""
        self._runs += self._load(after=self._newest)


def _contains(run: Hashes, ordered: Hashes) -> npt.NDArray[np.bool_]:
    """bool[len(ordered)]: which of the sorted, distinct hashes are in the sorted run. Searches the shorter in the
    longer."""
    found = np.zeros(len(ordered), dtype=bool)
    if len(run) < len(ordered):
        for _, at in _matches(run, ordered):
            found[at] = True
    else:
        for at, _ in _matches(ordered, run):
            found[at] = True
    return found


def _matches(few: Hashes, many: Hashes) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs of indexes of equal hashes, in rounds: more than one only where the first 64 bits collide."""
    keys = many[:, 0]
    places = np.searchsorted(keys, few[:, 0], side="left")
    inside = np.arange(len(few))
    while len(inside):
        inside = inside[places[inside] < len(many)]
        inside = inside[keys[places[inside]] == few[inside, 0]]
        at = places[inside]
        equal = many[at, 1] == few[inside, 1]
        yield inside[equal], at[equal]
        places[inside] += 1


def hashed(ids: pa.Array) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """uint64[n, 2] for an Arrow array of texts, numbers or booleans, and bool[n]: which of them are ids.

    Nulls and empty texts name no event, nor do values with parts (structs, lists).
    """
    if pa.types.is_nested(ids.type) or len(ids) == 0:
        return np.zeros((len(ids), 2), dtype=np.uint64), np.zeros(len(ids), dtype=bool)
    ids = pc.cast(pc.cast(ids, pa.string()) if not pa.types.is_large_string(ids.type) else ids, pa.large_string())
    _, offsets_buffer, data_buffer = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[ids.offset : ids.offset + len(ids) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    valid = pc.is_valid(ids).to_numpy(zero_copy_only=False) & (lengths > 0)
    result = np.zeros((len(ids), 2), dtype=np.uint64)
    octets = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.zeros(0, dtype=np.uint8)
    for length in np.unique(lengths[valid]):  # ids of one kind have one length, so this loop is short
        rows = np.flatnonzero(valid & (lengths == length))
        words = np.zeros((len(rows), -(-int(length) // 8) * 8), dtype=np.uint8)
        if len(rows) == len(ids):  # one length throughout: the characters lie side by side
            words[:, :length] = octets[starts[0] : starts[0] + length * len(rows)].reshape(len(rows), length)
        else:
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
