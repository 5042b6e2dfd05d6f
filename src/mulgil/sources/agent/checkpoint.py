"""What the agent remembers over a restart: which generation each file is. Used by `ship`.

Only a cache of places (the server's high-water mark is the truth), but the generation's id must be here before its
first bytes are sent: without it the same file would be sent again as another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mulgil.errors import Broken
from mulgil.record import Mark


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A generation's position, as the agent last knew it."""

    mark: Mark
    acknowledged: int
    """how far the server said it has the generation; 0: it was never sent"""


class Checkpoints:
    """Positions by flow, in one SQLite file. Every `save` is on the disk when it returns."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS checkpoint (flow TEXT, part TEXT, place INTEGER, acknowledged INTEGER,"
                " detail TEXT, PRIMARY KEY (flow, part)) WITHOUT ROWID"
            )
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._broken(error) from error

    def load(self, flow: str) -> list[Checkpoint]:
        """All positions of a flow."""
        try:
            rows = self._database.execute(
                "SELECT part, place, detail, acknowledged FROM checkpoint WHERE flow = ? ORDER BY part", (flow,)
            ).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error
        return [Checkpoint(Mark(part, place, detail), acknowledged) for part, place, detail, acknowledged in rows]

    def save(self, flow: str, checkpoints: Iterable[Checkpoint], forget: Iterable[str] = ()) -> None:
        """Replace these positions and drop the parts in `forget`, together."""
        rows = [(flow, one.mark.part, one.mark.place, one.acknowledged, one.mark.detail) for one in checkpoints]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?)", rows)
            self._database.executemany(
                "DELETE FROM checkpoint WHERE flow = ? AND part = ?", [(flow, part) for part in forget]
            )
            self._database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._broken(error) from error

    def close(self) -> None:
        self._database.close()

    def _broken(self, error: Exception) -> Broken:
        return Broken(
            f"the agent's positions cannot be used: {error}",
            where=self._path,
            hint="look at the disk and the rights; without the file everything is sent from the start again",
        )
