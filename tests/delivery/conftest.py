from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_line import SmallLine

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where the system has such: these tests survive no power cut, and every commit syncs."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture
def line(folder: Path) -> Iterator[SmallLine]:
    made = SmallLine(folder)
    yield made
    made.close()
