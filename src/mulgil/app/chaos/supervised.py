"""A process that is meant to run, and is killed, stopped and started again: the server, or the agent."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mulgil.app.chaos.process import Copy, Installed, Process
from mulgil.app.chaos.steps import Board, Planted

END_S = 30.0
"""A process that is asked to stop, or to do one thing, has this long."""


class Wrong(Exception):  # noqa: N818 (a finding, not an error)
    """The scenario cannot go on: something did what it must not."""


class Supervised:
    """One place in which one process after another runs with the same arguments."""

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, note: Callable[[str], None], *, hot: bool = False
    ) -> None:
        self.name = name
        self._hot = hot
        self.board = Board(folder / f"{name}.board")
        self.log = folder / f"{name}.log"
        self.starts = 0
        self.kills = 0
        self.reached = 0
        """Planted kills that came to pass."""
        self.phases: Counter[str] = Counter()
        """Inside which steps it was killed."""
        self._arguments = list(arguments)
        self._board_file = folder / f"{name}.board"
        self._note = note
        self._process: Process | None = None
        self._planted: Planted | None = None
        self._log_start = 0
        self._hard_times = False
        self._excused = False

    @property
    def waits_for_planted(self) -> bool:
        """Whether a planted kill is still to come."""
        return self._planted is not None

    def start(self, *, planted: Planted | None = None, installed: bool = False) -> None:
        """Begin the next life."""
        self._planted = planted
        self._excused = self._hard_times
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.starts += 1
        if installed:
            self._process = Installed(self._arguments, self.log)
        else:
            self._process = Copy(self._arguments, self.log, self._board_file, planted, hot=self._hot)

    def hard_times(self, hard: bool) -> None:
        """While the disk is full, it may fail to start."""
        self._hard_times = hard
        self._excused = self._excused or (hard and not self.is_up())

    def tend(self) -> bool:
        """Start it again where it has ended as planned, or with an error that is excused; whether it runs."""
        status = self._status()
        if status is None:
            return True
        if status == -signal.SIGKILL and self._planted is not None:
            self._planted_came()
        elif not (self._excused and status == 1):
            raise Wrong(f"the {self.name} ended by itself with status {status}: {self.tail()}")
        self.start()
        return False

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        self.send(signal.SIGKILL)
        status = self.wait()
        if status not in (-signal.SIGKILL, 1):
            raise Wrong(f"a killed {self.name} ended with {status}: {self.tail()}")
        self._killed()

    def terminate(self) -> None:
        """SIGTERM: it finishes what it does, and ends with 0; or by the signal, when it had just begun."""
        self.send(signal.SIGTERM)
        status = self.wait()
        if status == -signal.SIGKILL and self._planted is not None:
            self._planted_came()
        elif status not in (0, -signal.SIGTERM) and not (self._excused and status == 1):
            raise Wrong(f"a {self.name} that was asked to stop ended with {status}: {self.tail()}")

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send(number)

    def is_up(self) -> bool | None:
        """Whether this life has said that it has started; None where it is over."""
        if self._status() is not None:
            return None
        return self.log.exists() and b'"event": "started"' in self.log.read_bytes()[self._log_start :]

    def tail(self) -> str:
        """The last lines of its log, on one line."""
        return tail(self.log)

    def wait(self) -> int | None:
        """Wait for its end: the exit status, or None when it has not ended in time."""
        assert self._process is not None
        return self._process.wait(END_S)

    def close(self) -> None:
        """End it for good."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(END_S)
        self.board.close()

    def _status(self) -> int | None:
        assert self._process is not None
        return self._process.status()

    def _planted_came(self) -> None:
        assert self._planted is not None
        self.reached += 1
        self._note(f"the planted kill of the {self.name} came ({self._planted.step})")
        self._killed()

    def _killed(self) -> None:
        self.kills += 1
        self._planted = None
        found = [f"{self.name} {one}" for one in self.board.take()]
        self.phases.update(found or [f"{self.name} elsewhere"])
        if found:
            self._note(f"killed inside {', '.join(found)}")


def tail(log: Path) -> str:
    """The last lines of a file, on one line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-8:])[-1500:]
