"""What the scenario knows about the records it made: which were acknowledged, which may be there, what they hold.

A record is a number; everything in it follows from the number, so that its content can be checked without keeping it.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

EPOCH_S = 1_767_225_600
BAD_EVERY = 53
"""Of the lines of a log, one in so many is no JSON, and belongs into quarantine."""


def text_of(number: int) -> str:
    """A text that belongs to this record alone; some are long."""
    text = blake2b(number.to_bytes(8, "little", signed=True), digest_size=12).hexdigest()
    return text * 40 if number % 41 == 0 else text


def value_of(number: int) -> int | float | str | None:
    """A value that is not of one type: a column has to widen, and to rescue what does not fit."""
    match number % 11:
        case 3:
            return number + 0.5
        case 7:
            return f"about {number}"
        case 9:
            return None
        case _:
            return number


def record_of(number: int, *, event_id: bool) -> dict[str, Any]:
    """The record of a number."""
    record: dict[str, Any] = {
        "n": number,
        "at": datetime.fromtimestamp(EPOCH_S + number % 200_000, UTC).isoformat(),
        "text": text_of(number),
    }
    if event_id:
        record["event_id"] = f"e{number}"
    if (value := value_of(number)) is not None:
        record["value"] = value
    if number % 97 == 0:
        record[f"late_{number // 97 % 4}"] = number
    return record


def is_bad(number: int) -> bool:
    """Whether the log line of this number is no JSON."""
    return number % BAD_EVERY == 0


class Books:
    """Numbers of one source, by what is known of them. Written by many threads."""

    def __init__(self) -> None:
        self.certain: set[int] = set()
        """Acknowledged, or written into a log: each is in the lake exactly once."""
        self.possible: set[int] = set()
        """Sent, and the answer never came: in the lake once or not at all."""
        self.banners = 0
        """How many files began with the banner line: so often it is in the lake."""
        self.bytes = 0
        """Bytes that were written into logs."""
        self._lock = threading.Lock()

    def sent(self, numbers: range) -> None:
        """These are on their way."""
        with self._lock:
            self.possible.update(numbers)

    def acknowledged(self, numbers: range) -> None:
        """These are kept."""
        with self._lock:
            self.certain.update(numbers)
            self.possible.difference_update(numbers)

    def wrote(self, count: int) -> None:
        """So many bytes are in a log."""
        with self._lock:
            self.bytes += count

    def refused(self, numbers: range) -> None:
        """These were not taken."""
        with self._lock:
            self.possible.difference_update(numbers)
