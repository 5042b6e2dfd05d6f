"""The site's traffic in real time: a day of it in a few seconds, then, if wanted, on and on.

A thread of its own lets the site live step by step, and hands its events to the poster and its lines to the log. What
happens in which step depends on the seed alone; a machine that is late does the same later. Called by `demo.py`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mulgil.app.demo.log_writer import AccessLog
from mulgil.app.demo.poster import Poster
from mulgil.app.demo.site import DAY_US, EVENTS_A_VISIT, KOREA_US, MINUTE_US, Happenings, Site, korean_midnight
from mulgil.clock import Clock

STEP_S = 0.02
BATCH_EVENTS = 200
ROTATIONS_A_DAY = 6
KEEP_RATE = 0.2
"""Once the day is over, the site goes on in real time with this part of the events a second."""
KEEP_ROTATION_S = 20.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much happens how fast."""

    rate: int
    """Events a second, in the mean of the day."""
    seconds: float
    """How long the day takes."""


class Traffic:
    """The site, its poster and its log."""

    def __init__(self, seed: int, run: int, pace: Pace, poster: Poster, log: AccessLog, clock: Clock) -> None:
        self._pace = pace
        self._start_us = korean_midnight(clock.now_us())
        self.site = Site(seed, run, self._start_us, pace.rate * pace.seconds / EVENTS_A_VISIT)
        self._poster = poster
        self._log = log
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: None)
        self.progress = 0.0
        """How much of the day is over, 0 to 1."""
        self.ended_s = 0.0
        """When the last record was made, on the monotonic clock; 0 while more are coming."""
        self._made = {"web": 0, "access": 0}
        self._waiting: dict[str, deque[tuple[float, int]]] = {"web": deque(), "access": deque()}
        self.failed: OSError | None = None
        """Why the log could not be written; the traffic has ended then."""

    @property
    def running(self) -> bool:
        """Whether anything is still to come by itself."""
        return self._thread.is_alive()

    @property
    def rotations(self) -> int:
        """How often the log was renamed."""
        return self._log.rotations

    @property
    def korean_time(self) -> str:
        """The clock on the site's wall, `13:40`."""
        minutes = (self.site.now_us + KOREA_US) // MINUTE_US
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    def lag_s(self, source: str, visible: int) -> float:
        """For how long the oldest record that cannot be queried yet has existed, when so many can."""
        waiting = self._waiting[source]
        while waiting and waiting[0][1] <= visible:
            waiting.popleft()
        return self._clock.monotonic_s() - waiting[0][0] if waiting else 0.0

    def start_day(self) -> None:
        """Begin; `running` is false when the day is over."""
        self._start(self._day)

    def start_keeping(self) -> None:
        """Go on in real time, until `stop`."""
        self._start(self._keep)

    def stop(self) -> None:
        """End now. Everything that was made is written to the log and handed to the poster."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _start(self, act: Callable[[], None]) -> None:
        def run() -> None:
            try:
                act()
            except OSError as error:  # the log cannot be written
                self.failed = error
            self.ended_s = self._clock.monotonic_s()

        self.ended_s = 0.0
        self._thread = threading.Thread(target=run, name="traffic", daemon=True)
        self._thread.start()

    def _day(self) -> None:
        steps = max(1, round(self._pace.seconds / STEP_S))
        began_s = self._clock.monotonic_s()
        for step in range(1, steps + 1):
            if self._stop.is_set():
                return
            self._hand_over(self.site.advance(self._start_us + DAY_US * step // steps))
            if step * ROTATIONS_A_DAY % steps < ROTATIONS_A_DAY and step < steps:
                self._log.rotate()
            self.progress = step / steps
            self._clock.wait(self._stop, max(0.0, began_s + step * STEP_S - self._clock.monotonic_s()))
        self._hand_over(self.site.finish())

    def _keep(self) -> None:
        self.site.jump(self._clock.now_us(), self._pace.rate * KEEP_RATE * 86_400 / EVENTS_A_VISIT)
        rotated_s = self._clock.monotonic_s()
        while not self._clock.wait(self._stop, STEP_S * 5):
            self._hand_over(self.site.advance(self._clock.now_us()))
            if self._clock.monotonic_s() - rotated_s > KEEP_ROTATION_S:
                rotated_s = self._clock.monotonic_s()
                self._log.rotate()

    def _hand_over(self, happened: Happenings) -> None:
        now_s, copies = self._clock.monotonic_s(), happened.copies
        self._log.write(happened.lines)
        self._note("web", now_s, len(happened.events) - copies)
        self._note("access", now_s, len(happened.lines))
        for first in range(0, len(happened.events), BATCH_EVENTS):
            events = happened.events[first : first + BATCH_EVENTS]
            among = min(copies, len(events))
            copies -= among
            self._poster.post(events, among)

    def _note(self, source: str, now_s: float, count: int) -> None:
        if count:
            self._made[source] += count
            self._waiting[source].append((now_s, self._made[source]))
