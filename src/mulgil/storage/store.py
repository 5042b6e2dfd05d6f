"""The contract of a place that keeps files. Every implementation runs `tests/conformance/test_store.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol

Data = bytes | bytearray | memoryview
"""Bytes-like: anything with the buffer protocol, in one piece (a `pyarrow.Buffer` through `memoryview`)."""


class Store(Protocol):
    """Whole files under absolute paths. Safe to use from many threads.

    A file is there with all of its bytes or not at all, and stays so through a crash once the call that made it has
    returned. A file may be replaced; readers see the old or the new one. Folders exist as far as a path names them.

    Raises `Missing` where a path holds no file, `Overloaded` when the place is full, `Retry` when it does not answer,
    `Broken` when it refuses.
    """

    def put(self, path: str, data: Data) -> None:
        """Make or replace a file, durable on return."""
        ...

    def put_all(self, files: Sequence[tuple[str, Data]]) -> None:
        """Put several files at once, cheaper than one after the other; all of them durable on return.

        When it raises, some of the files may be there: each one whole.
        """
        ...

    def open_write(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """A file to be written in order, for what is too large to hold.

        It is durable and visible after the block is left; nothing of it stays when the block raises.
        """
        ...

    def get(self, path: str) -> bytes:
        """The whole file."""
        ...

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """`length` bytes from offset `start`; fewer where the file ends before."""
        ...

    def size(self, path: str) -> int:
        """The file's length in bytes."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        ...

    def delete(self, path: str) -> None:
        """Remove the file; no error when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """The paths of all files that begin with `prefix`, in order, through all folders below it."""
        ...
