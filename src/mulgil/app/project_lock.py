"""One line a project: a second `mulgil run` in the same folder, started by mistake, refuses."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from mulgil.errors import Broken, Conflict

TRIES = 10
TRY_S = 0.05
"""Whoever only looks (`is_locked`) holds the lock for a moment; who wants it tries for longer than that."""


class ProjectLock:
    """Held from construction to `release`, or to the end of the process, however it ends."""

    def __init__(self, state: Path) -> None:
        """Lock the project whose state lies at this path. Raises `Conflict` naming the process that has it."""
        path = _path(state)
        self._descriptor: int | None = _open(path)
        try:
            _lock(self._descriptor, path)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let another process have the project."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(state: Path) -> bool:
    """Whether a process runs the project. Disturbs nobody."""
    descriptor = _open(_path(state))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _path(state: Path) -> Path:
    return state.with_name(state.name + ".lock")


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Broken(f"the project cannot be locked: {error.strerror}", where=str(path)) from error


def _lock(descriptor: int, path: Path) -> None:
    pause = threading.Event()
    for attempt in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if attempt == TRIES - 1:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise Conflict(
                    f"process {holder} runs this project already",
                    where=str(path),
                    hint="stop it first, or leave it running",
                ) from error
            pause.wait(TRY_S)
        except OSError as error:
            raise Broken(f"the project cannot be locked: {error.strerror}", where=str(path)) from error
        else:
            return
