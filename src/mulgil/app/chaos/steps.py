"""The steps by which a server changes what is on the disk: counted, watched from outside, and fatal where asked.

Runs inside the process under test. Every change that Mulgil makes goes through one of a few calls; each is told apart
and reported in shared memory before and after it is made, so that whoever kills the process knows where it was. A
planted kill is a SIGKILL that the process sends itself at a step that a kill from outside would rarely hit. The wall
clock's offset lies in the same memory.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from mulgil import table
from mulgil.app import serve
from mulgil.app.chaos.plan import AGENT_STEPS, SERVER_STEPS
from mulgil.clock import SystemClock
from mulgil.sources.agent.checkpoint import Checkpoints
from mulgil.sources.agent.client import Client
from mulgil.state import Database, Transaction
from mulgil.stream import EmbeddedStream
from mulgil.table import TableSettings

STEPS = (*SERVER_STEPS, *AGENT_STEPS)
CALLS = {"sync": ("fsync", "fdatasync"), "rename": ("replace",), "delete": ("unlink",), "write": ("pwritev",)}
"""Step to functions of `os`. The steps of a transaction are `Database.transaction`'s; the agent's requests and its own
notes are `send` and `save`."""
THREADS = ("flow", "care", "stream", "http", "watch", "ThreadPool", "Main")
"""Kinds of threads, by how their names begin."""

_CLOCK = struct.Struct("<q")
_SLOTS_AT = 16
_SLOTS = 120
BYTES = _SLOTS_AT + 2 * _SLOTS


@dataclass(frozen=True, slots=True)
class Planted:
    """A kill at a step."""

    step: str
    count: int
    after: bool


class Board:
    """The shared memory: a file of `BYTES`, mapped by the scenario and by its servers."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), BYTES)
        self._free = count()
        self._own = threading.local()

    @property
    def clock_us(self) -> int:
        """By how much the wall clock is ahead, microseconds."""
        return int(_CLOCK.unpack_from(self._memory)[0])

    @clock_us.setter
    def clock_us(self, offset_us: int) -> None:
        _CLOCK.pack_into(self._memory, 0, offset_us)

    def enter(self, step: str) -> None:
        """This thread is inside a step."""
        if not hasattr(self._own, "slot"):
            name = threading.current_thread().name
            kind = next((number for number, kind in enumerate(THREADS, 1) if name.startswith(kind)), 0)
            self._own.slot = _SLOTS_AT + 2 * (next(self._free) % _SLOTS)
            self._memory[self._own.slot] = kind
        self._memory[self._own.slot + 1] = STEPS.index(step) + 1

    def leave(self) -> None:
        """It is outside again."""
        self._memory[self._own.slot + 1] = 0

    def take(self) -> list[str]:
        """Inside which steps the threads of a dead process were, such as `flow: sync`; wipes them out."""
        found = []
        for slot in range(_SLOTS_AT, BYTES, 2):
            kind, step = self._memory[slot : slot + 2]
            if step:
                found.append(f"{(*THREADS, 'other')[kind - 1]}: {STEPS[step - 1]}".lower())
        self._memory[_SLOTS_AT:BYTES] = bytes(BYTES - _SLOTS_AT)
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


def watch_steps(board: Board, planted: Planted | None) -> None:
    """From now on, every step of this process is on the board, and the planted one is its last."""
    turns = count(1)

    def deadly(step: str, after: bool) -> None:
        here = planted is not None and (planted.step, planted.after) == (step, after)
        if here and planted is not None and next(turns) == planted.count:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*values: Any, **named: Any) -> Any:
            board.enter(step)
            deadly(step, False)
            try:
                return call(*values, **named)
            finally:
                deadly(step, True)
                board.leave()

        return stepped

    for step, names in CALLS.items():
        for name in names:
            setattr(os, name, stepping(step, getattr(os, name)))
    defaults = EmbeddedStream.__init__.__kwdefaults__  # it took the function when it was imported
    assert defaults is not None
    defaults["sync"] = os.fdatasync

    transaction = Database.transaction

    @contextmanager
    def stepped_transaction(self: Database) -> Iterator[Transaction]:
        board.enter("begin")
        deadly("begin", False)
        try:
            with transaction(self) as one:
                deadly("begin", True)
                yield one
                board.enter("commit")
                deadly("commit", False)
            deadly("commit", True)
            board.enter("committed")
            deadly("committed", False)
        finally:
            board.leave()
            deadly("committed", True)

    setattr(Database, "transaction", stepped_transaction)  # noqa: B010 (mypy would not let a method be replaced)
    setattr(Client, "ask", stepping("send", Client.ask))  # noqa: B010
    setattr(Checkpoints, "save", stepping("save", Checkpoints.save))  # noqa: B010


def hurry_care() -> None:
    """From now on, tables are compacted and swept all the time: two files are enough, and two seconds of grace."""
    serve.CARE_PAUSE_S, serve.GRACE_S = 0.01, 2.0
    setattr(table, "TableSettings", partial(TableSettings, compact_fan_in=2))  # noqa: B010 (no subclass would do)


def turn_clock(board: Board) -> None:
    """From now on, this process's wall clock is ahead by what the board says."""
    now_us = SystemClock.now_us

    def turned(self: SystemClock) -> int:
        return now_us(self) + board.clock_us

    setattr(SystemClock, "now_us", turned)  # noqa: B010 (mypy would not let a method be replaced)
