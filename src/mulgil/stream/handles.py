"""File handles for reading, a bounded number of them, shared by all readers of a shard."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path


class Handle:
    """An open file. It is closed when the last who uses it has let it go, so that nobody reads a stranger's number."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)


class Handles:
    """The handles used last."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, Handle] = OrderedDict()

    def get(self, path: Path) -> Handle:
        """A handle for this file; hold on to it while its number is used. Raises `FileNotFoundError`."""
        with self._lock:
            handle = self._open.get(path)
            if handle is None:
                handle = self._open[path] = Handle(path)
                if len(self._open) > self._most:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(path)
            return handle

    def drop(self, path: Path) -> None:
        """The file is gone."""
        with self._lock:
            self._open.pop(path, None)

    def close(self) -> None:
        """Let all of them go."""
        with self._lock:
            self._open.clear()
