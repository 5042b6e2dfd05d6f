"""An access log as a web server and logrotate keep it: lines appended to access.log, which is renamed now and then.

Called by `traffic.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class AccessLog:
    """`access.log`, and before it `access.log.1`, `access.log.2`, … the older the higher."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Goes on in a log that is there already. `keep` old files stay; older ones are deleted."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "access.log"
        self.rotations = 0
        self._keep = keep
        self._descriptor = self._open()

    def write(self, lines: Sequence[str]) -> None:
        """Append the lines, whole."""
        if lines:
            data = memoryview(("\n".join(lines) + "\n").encode())
            while data:
                data = data[os.write(self._descriptor, data) :]

    def rotate(self) -> None:
        """Rename every file to the next number, and begin a new one."""
        self._old(self._keep).unlink(missing_ok=True)
        for number in range(self._keep - 1, 0, -1):
            if self._old(number).exists():
                self._old(number).rename(self._old(number + 1))
        self.path.rename(self._old(1))
        os.close(self._descriptor)
        self._descriptor = self._open()
        self.rotations += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
