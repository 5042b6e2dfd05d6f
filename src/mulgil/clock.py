"""Time, handed in. Nothing else in the house reads the wall clock or sleeps."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Where a component gets its time from."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences have a meaning."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until the event is set or the time is over; tells whether it was set."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class TurnedClock:
    """A clock that moves only when it is turned, for simulations."""

    def __init__(self, now_us: int = 1_764_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._monotonic_us / 1e6

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.turn(timeout_s)
        return event.is_set()

    def turn(self, seconds: float) -> None:
        """Time passes."""
        self._now_us += int(seconds * 1e6)
        self._monotonic_us += int(seconds * 1e6)

    def jump(self, seconds: float) -> None:
        """The wall clock alone is set forward or back, as an operator or NTP does."""
        self._now_us += int(seconds * 1e6)
