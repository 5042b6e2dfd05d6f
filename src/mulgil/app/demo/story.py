"""Notices what is worth telling while the demo runs, each thing once. Called by `demo.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mulgil.app.demo.watch import Seen


class Story:
    """What has been told so far."""

    def __init__(self, tell: Callable[..., None]) -> None:
        """`tell(text, style)` shows a line."""
        self.say = tell
        self._told: set[str] = set()
        self._columns: set[str] = set()
        self._dead_pid = 0

    def killed(self, pid: int) -> None:
        """The server is about to be killed."""
        self._dead_pid = pid
        self.say(f"killed -9 on purpose (process {pid}), started again", "bold yellow")

    def follow(self, seen: Seen, pid: int, answers: bool, rows: int, rotations: int) -> None:
        """Tell what is new. `answers`: the server's health could be asked; `rows`: of this run in bronze.web."""
        columns = set(seen.tables["web"].columns)
        if rows and self._once("rows"):
            self.say("the first rows answer SQL", "green")
        elif self._columns:
            for name in sorted(columns - self._columns):
                self.say(f"events have a new field, so bronze.web has a new column: {name}")
        self._columns |= columns
        if rotations and self._once("rotated"):
            self.say("access.log is rotated: renamed to access.log.1, and begun anew")
        if seen.kept_back and self._once("kept"):
            self.say("a line of the log that is none went into quarantine")
        if self._dead_pid not in (0, pid) and answers and self._once("back"):
            self.say("it is back, and the pages send again what nobody acknowledged", "green")

    def _once(self, what: str) -> bool:
        new = what not in self._told
        self._told.add(what)
        return new
