"""Real processes of `mulgil`, started in a tenth of a second: copies of one warm process, or the program as installed.

A copy is forked from a server that has imported everything and done nothing (`multiprocessing`'s fork server). It has
its own pid, files and sockets, and dies of SIGKILL like any other; only the second of CPU for imports is saved, so
that there is time for many deaths.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path

from mulgil.app.chaos.steps import Board, Planted, hurry_care, turn_clock, watch_steps

PRELOADED = [
    "mulgil.app.chaos.campaign",
    "mulgil.app.cli",
    "mulgil.app.serve",
    "mulgil.app.settings",
    "mulgil.query",
]
CONTEXT = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Say what this process's fork server imports; to be called before the first copy is made."""
    CONTEXT.set_forkserver_preload(PRELOADED)


@cache
def warm() -> None:
    """Wait until the fork server has imported everything."""
    process = CONTEXT.Process(target=int, daemon=True)
    process.start()
    process.join()


class Copy:
    """One `mulgil` with arguments, forked from the warm process."""

    def __init__(
        self, arguments: Sequence[str], log: Path, board: Path, planted: Planted | None = None, *, hot: bool = False
    ) -> None:
        """`hot`: it compacts and sweeps all the time."""
        values = (list(arguments), str(log), str(board), planted, hot)
        self._process = CONTEXT.Process(target=_run_copy, args=values, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; None when it has not ended by then."""
        self._process.join(timeout_s)
        return self._process.exitcode

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process.exitcode is None:
            with suppress(ProcessLookupError):  # it has ended, and the fork server has not said so yet
                os.kill(self.pid, number)


class Installed:
    """One `mulgil` with arguments, as an operator starts it."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mulgil", *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.pid = self._process.pid

    def status(self) -> int | None:
        """As `Copy.status`."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """As `Copy.wait`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: int) -> None:
        """As `Copy.send`."""
        self._process.send_signal(number)


Process = Copy | Installed


def _run_copy(arguments: list[str], log: str, board: str, planted: Planted | None, hot: bool) -> None:
    """The life of a copy."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setpgid(0, 0)  # Ctrl-C in the terminal is for who drives, and ends the copies by the thread below
    threading.Thread(target=_end_with_parent, daemon=True).start()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    memory = Board(Path(board))
    turn_clock(memory)
    watch_steps(memory, planted)
    if hot:
        hurry_care()
    sys.argv = ["mulgil", *arguments]
    runpy.run_module("mulgil", run_name="__main__")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
