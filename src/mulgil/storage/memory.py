"""Files in a dictionary, for tests and simulations."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from mulgil.errors import Missing
from mulgil.storage.store import Data


class MemoryStore:
    """A `Store` that forgets everything with the process."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._guard = threading.Lock()

    def put(self, path: str, data: Data) -> None:
        """See `Store.put`."""
        with self._guard:
            self._files[path] = bytes(data)

    def put_all(self, files: Sequence[tuple[str, Data]]) -> None:
        """See `Store.put_all`."""
        for path, data in files:
            self.put(path, data)

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        """See `Store.open_write`."""
        with io.BytesIO() as file:
            yield file
            self.put(path, file.getvalue())

    def get(self, path: str) -> bytes:
        """See `Store.get`."""
        with self._guard:
            if path not in self._files:
                raise Missing("there is no such file", where=path)
            return self._files[path]

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        return self.get(path)[start : start + length]

    def size(self, path: str) -> int:
        """See `Store.size`."""
        return len(self.get(path))

    def exists(self, path: str) -> bool:
        """See `Store.exists`."""
        with self._guard:
            return path in self._files

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with self._guard:
            self._files.pop(path, None)

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`."""
        with self._guard:
            found = sorted(path for path in self._files if path.startswith(prefix))
        return iter(found)
