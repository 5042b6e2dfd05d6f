"""Who reads a stream, and how far each has come: retention waits for the slowest."""

from __future__ import annotations

import threading
from collections.abc import Mapping

Checkpoints = Mapping[str, Mapping[int, int]]
"""Per reader and shard, the first sequence number that the reader still needs."""


class Readers:
    """The readers of one stream. Safe to use from many threads."""

    def __init__(self, readers: Checkpoints) -> None:
        self._lock = threading.Lock()
        self._readers = {name: dict(shards) for name, shards in readers.items()}

    def checkpoint(self, reader: str, shard: int, sequence: int) -> None:
        """The reader needs nothing of the shard before this any more; a new reader is registered by it."""
        with self._lock:
            self._readers.setdefault(reader, {})[shard] = sequence

    def forget(self, reader: str) -> None:
        """The reader does not come back."""
        with self._lock:
            self._readers.pop(reader, None)

    def slowest(self, shard: int) -> int | None:
        """The first sequence number that somebody still needs; None where nobody reads."""
        with self._lock:
            return min((shards.get(shard, 0) for shards in self._readers.values()), default=None)
