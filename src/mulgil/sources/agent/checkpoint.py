"""What the agent remembers over a restart: which generation each file is. Used by `ship`.

Only a cache of places (the server's high-water mark is the truth), but the generation's id must be here before its
first bytes are sent: without it the same file would be sent again as another one.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mulgil.errors import Broken, Conflict
from mulgil.record import Mark

TRIES = 20
TRY_S = 0.1
"""An agent that is just ending is waited for."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A generation's position, as the agent last knew it."""

    mark: Mark
    acknowledged: int
    """how far the server said it has the generation; 0: it was never sent"""


class Checkpoints:
    """Positions by flow, in one SQLite file of one agent. Every `save` is on the disk when it returns."""

    def __init__(self, path: str) -> None:
        """Raises `Conflict` where another agent has the file, `Broken` where it cannot be used."""
        self._path = path
        with ExitStack() as undo:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._lock = undo.enter_context(_locked(path))
                self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                undo.callback(self._database.close)
                self._database.execute("PRAGMA synchronous = FULL")
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS checkpoint (flow TEXT, part TEXT, place INTEGER, acknowledged INTEGER,"
                    " detail TEXT, PRIMARY KEY (flow, part)) WITHOUT ROWID"
                )
            except BlockingIOError as error:
                raise Conflict(
                    "another agent keeps its positions in this file", where=path, hint="--state names one for each"
                ) from error
            except (sqlite3.DatabaseError, OSError) as error:
                raise self._broken(error) from error
            undo.pop_all()

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
        self._lock.close()

    def _broken(self, error: Exception) -> Broken:
        return Broken(
            f"the agent's positions cannot be used: {error}",
            where=self._path,
            hint="look at the disk and the rights; without the file everything is sent from the start again",
        )


def _locked(path: str) -> IO[bytes]:
    """The file that shows who has the positions: two agents with the same ones would send every file twice.

    Raises `BlockingIOError`.
    """
    lock = Path(f"{path}.lock").open("wb")  # noqa: SIM115 (held as long as the agent runs)
    pause = threading.Event()
    for attempt in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == TRIES - 1:
                lock.close()
                raise
            pause.wait(TRY_S)
    return lock
