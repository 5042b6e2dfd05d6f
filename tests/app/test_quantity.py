from __future__ import annotations

import re

import pytest

from mulgil.app.quantity import DURATION_PATTERN, SIZE_PATTERN, duration_s, duration_text, size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("5min", 300), ("1.5h", 5400), ("7d", 604800), ("2 w", 1209600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "size"), [("500B", 500), ("64MB", 64_000_000), ("64MiB", 2**26), ("1.5gb", 1_500_000_000), ("2TiB", 2**41)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size
    assert re.search(SIZE_PATTERN, text)


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-7d", "1e3s", "7dd", "7d7h", "7 mb x"])
def test_what_is_none(text: str) -> None:
    for read in (duration_s, size_bytes):
        with pytest.raises(ValueError):
            read(text)


@pytest.mark.parametrize("text", ["7d", "36h", "90s", "500ms", "1m"])
def test_a_duration_is_written_as_it_was_read(text: str) -> None:
    assert duration_text(duration_s(text)) == text
