from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_line import SmallLine


@pytest.fixture
def line(folder: Path) -> Iterator[SmallLine]:
    made = SmallLine(folder)
    yield made
    made.close()
