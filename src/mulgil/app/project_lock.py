"""One line a project: a second `mulgil run` in the same folder, started by mistake, refuses."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mulgil.errors import Conflict


class ProjectLock:
    """Held from construction to `release`, or to the end of the process, however it ends."""

    def __init__(self, state: Path) -> None:
        """Lock the project whose state lies at this path. Raises `Conflict` naming the process that has it."""
        state.parent.mkdir(parents=True, exist_ok=True)
        path = state.with_name(state.name + ".lock")
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            self._descriptor = None
            raise Conflict(
                f"process {holder} runs this project already",
                where=str(path),
                hint="stop it first, or leave it running",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the project."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
