"""The traffic of a small clinic-booking site: what its visitors' browsers and its web server say, second by second.

Pure: a seed and times in, JSON events and lines of an access log out. The same seed, start and steps, the same bytes.
Visitors land, search by district and treatment, look at clinics, book or leave; robots only fetch pages. Among the good
records are the odd ones of real life, so that the line has something to show (see `Oddities`). Called by `traffic.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from random import Random
from time import gmtime, strftime
from typing import TypeVar

from mulgil.app.demo.names import (
    BROWSERS,
    DISTRICTS,
    HIDDEN_BOT,
    KINDS,
    OPEN_BOT,
    REFERRERS,
    SITE,
    Clinic,
    District,
    Kind,
    address,
    clinics,
    search_path,
)

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
KOREA_US = 9 * HOUR_US
"""Korea is nine hours ahead of UTC, all year."""

EVENTS_A_VISIT = 3.6
"""Measured: events by visits, those of robots among them."""

DAY_SHAPE = (
    34,
    20,
    13,
    10,
    10,
    16,
    34,
    62,
    96,
    122,
    134,
    142,
    172,
    150,
    128,
    122,
    118,
    122,
    136,
    152,
    174,
    184,
    146,
    84,
)
"""How busy each hour is, from midnight in Korea."""

VISITORS = 6_000
PLACES = 512
"""Entries of a table of weighted choices."""

T = TypeVar("T")


@dataclass(slots=True)
class Happenings:
    """What happened in one step."""

    events: list[str] = field(default_factory=list)
    """JSON objects."""
    copies: int = 0
    """How many of them, the first ones, are events of an earlier step once more, with the same event_id."""
    lines: list[str] = field(default_factory=list)
    """Lines of the access log, without line feeds."""


@dataclass(slots=True)
class Oddities:
    """How often the records were not as one would wish."""

    broken_lines: int = 0
    """Lines of the log that are no log lines: torn, or something else's output. They belong into quarantine."""
    conflicts: int = 0
    """Reservations whose price is a text where numbers are stored. It belongs into `_rescued`."""
    late: int = 0
    """Events of phones that were offline for a day or more. They belong into their own day's partition."""
    copies: int = 0
    """Events that a browser sent twice. They belong into the lake once."""


@dataclass(frozen=True, slots=True)
class Visitor:
    address: str
    browser: str
    known: str
    """Of the event: visitor and device."""
    returns: bool


class Site:
    """The site and everybody on it."""

    def __init__(self, seed: int, run: int, start_us: int, visits_a_day: float) -> None:
        """`run` goes into the ids of events, so that a second run into the same lake brings new ones."""
        self._random = Random(seed)
        self._run = run
        self._start_us = start_us
        self.now_us = start_us
        self.visits_a_day = visits_a_day
        self.oddities = Oddities()
        self.events = 0
        """Events so far, copies not counted."""
        self.lines = 0
        """Lines so far, broken ones among them."""
        self._events = 0
        self._happenings: list[tuple[int, int, str, str]] = []
        self._count = 0
        self._sessions = 0
        self._reservations = 0
        self._views = 0
        self._owed_visits = 0.0
        self._again: list[str] = []
        self._clinics = clinics([self._random.random() for _ in range(len(KINDS) * 16)])
        self._about = {clinic.path: _about(clinic) for clinic in self._clinics}
        self._dentists = [clinic for clinic in self._clinics if clinic.kind.name == "Dental"]
        self._by_choice = {
            (district.name, kind.name): [one for one in self._clinics if one.district is district and one.kind is kind]
            for district in DISTRICTS
            for kind in KINDS
        }
        self._visitors = [self._visitor(number) for number in range(VISITORS)]
        self._kinds = _table(KINDS, [kind.weight for kind in KINDS])
        self._districts = [_table(DISTRICTS, [_demand(one, hour) for one in DISTRICTS]) for hour in range(24)]
        self._searches = {
            (district.name, kind.name): (
                search_path(district, kind),
                f'"path":"/search","district":"{district.name}","treatment":"{kind.name}",'
                f'"query":"{district.hangul} {kind.hangul}"',
            )
            for district in DISTRICTS
            for kind in KINDS
        }

    def advance(self, until_us: int) -> Happenings:
        """Let time pass, in microseconds since 1970; what happened since the last call."""
        step_us = until_us - self.now_us
        self._owed_visits += self.visits_a_day * step_us / DAY_US * crowd(self.now_us)
        starts = sorted(self._random.random() for _ in range(int(self._owed_visits)))
        self._owed_visits -= len(starts)
        for part in starts:
            self._visit(self.now_us + int(part * step_us))
        self.now_us = until_us
        return self._due(until_us)

    def finish(self) -> Happenings:
        """Nobody comes any more, and whoever is there goes on until they leave."""
        return self._due(2**62)

    def jump(self, now_us: int, visits_a_day: float) -> None:
        """The clock is somewhere else now."""
        self.now_us, self.visits_a_day = now_us, visits_a_day

    def _due(self, until_us: int) -> Happenings:
        made = Happenings(self._again, len(self._again))
        self.oddities.copies += len(self._again)
        self._again = []
        events, lines, waiting = made.events, made.lines, self._happenings
        before = self.lines
        while waiting and waiting[0][0] < until_us:
            _, number, event, line = heappop(waiting)
            if event:
                events.append(event)
                self.oddities.conflicts += '"price_krw":"' in event
                if number % 1000 == 7:
                    self._again.append(event)
            if line:
                lines.append(line)
        self.events += len(events) - made.copies
        self.lines += len(lines)
        if self.lines // 2_500 > before // 2_500 or (before < 400 <= self.lines):
            lines.append(self._broken(lines[-1]))
            self.lines += 1
        return made

    # -- visits -------------------------------------------------------------------------------------------------------

    def _visit(self, at_us: int) -> None:
        chance = self._random.random
        kind_of_visit = chance()
        if kind_of_visit < 0.05:
            self._robot(at_us, OPEN_BOT if kind_of_visit < 0.03 else HIDDEN_BOT)
            return
        visitor = self._visitors[int(chance() * VISITORS)]
        session = f'"session_id":"s{self._run}-{self._sessions}",{visitor.known},'
        self._sessions += 1
        if kind_of_visit < 0.06:  # an old link
            self._page(at_us, visitor, "/clinic/closed-since-spring", 404, 1_630, SITE)
            return
        referrer = REFERRERS[int(chance() * len(REFERRERS))]
        self._land(at_us, visitor, session, referrer)
        if chance() < 0.18:
            return
        districts = self._districts[(at_us + KOREA_US) // HOUR_US % 24]
        district, kind = districts[int(chance() * PLACES)], self._kinds[int(chance() * PLACES)]
        at_us += int((3 + 20 * chance()) * SECOND_US)
        came_from = f"{SITE}/"
        for _ in range(1 + int(2.2 * chance())):
            at_us = self._search(at_us, visitor, session, district, kind, came_from)
            choice = self._by_choice[district.name, kind.name]
            came_from = f"{SITE}/search"
            for clinic in choice if chance() < 0.45 else choice[: int(2 * chance())]:
                at_us += int((4 + 30 * chance()) * SECOND_US)
                self._look(at_us, visitor, session, clinic)
                if chance() < clinic.appeal:
                    self._book(at_us + int((20 + 90 * chance()) * SECOND_US), visitor, session, clinic)
                    return
            at_us += int((6 + 40 * chance()) * SECOND_US)
            if chance() < 0.3:
                district = districts[int(chance() * PLACES)]

    def _land(self, at_us: int, visitor: Visitor, session: str, referrer: str) -> None:
        self._views += 1
        happened_us = at_us
        if self._views % 700 == 90:
            happened_us -= (1 + self._views % 3) * DAY_US
            self.oddities.late += 1
        event = self._event(happened_us, "page_view", f'{session}"path":"/","referrer":"{referrer}"')
        self._page(at_us, visitor, "/", 200, 9_480, referrer, event)
        status, size = (304, 0) if visitor.returns else (200, 61_204)
        self._page(at_us + 80_000, visitor, "/static/app.js", status, size, f"{SITE}/")

    def _search(
        self, at_us: int, visitor: Visitor, session: str, district: District, kind: Kind, came_from: str
    ) -> int:
        path, said = self._searches[district.name, kind.name]
        if self._random.random() < 0.006:  # the server stumbles, and the visitor tries again
            self._page(at_us, visitor, path, 500, 570, came_from)
            at_us += 2 * SECOND_US
        results = 2 + int(30 * self._random.random())
        event = self._event(at_us, "search", f'{session}{said},"results":{results}')
        self._page(at_us, visitor, path, 200, 5_200 + 410 * results, came_from, event)
        return at_us

    def _look(self, at_us: int, visitor: Visitor, session: str, clinic: Clinic) -> None:
        variant = ""
        if at_us > self._start_us + 0.55 * DAY_US:  # a new booking button is being tried out
            variant = ',"variant":"new"' if self._sessions % 2 else ',"variant":"old"'
        event = self._event(at_us, "clinic_view", session + self._about[clinic.path] + variant)
        self._page(at_us, visitor, clinic.path, 200, clinic.page_bytes, f"{SITE}/search", event)
        if not visitor.returns:
            self._page(
                at_us + 120_000, visitor, f"/img{clinic.path}.webp", 200, 38_000 + clinic.page_bytes, clinic.path
            )

    def _book(self, at_us: int, visitor: Visitor, session: str, clinic: Clinic) -> None:
        price = str(clinic.kind.price_krw + 1_000 * int(20 * self._random.random()))
        if at_us > self._start_us + DAY_US // 4:
            if self._reservations % 150 == 0:
                price = '"상담 후 결정"'  # "to be settled at the clinic"
            self._reservations += 1
        event = self._event(at_us, "reservation", f'{session}{self._about[clinic.path]},"price_krw":{price}')
        self._page(at_us, visitor, "/reservations", 201, 312, SITE + clinic.path, event, "POST")

    def _robot(self, at_us: int, name: str) -> None:
        """One that says what it is goes everywhere; one that does not looks at dentists alone."""
        robot = Visitor(address(self._sessions % 5 * 8 + 1), name, "", False)
        choice = self._clinics if name == OPEN_BOT else self._dentists
        first = int(len(choice) * self._random.random())
        for number in range(8 + int(10 * self._random.random())):
            clinic = choice[(first + 7 * number) % len(choice)]
            self._page(at_us + 2 * number * SECOND_US, robot, clinic.path, 200, clinic.page_bytes, "-")

    # -- records ------------------------------------------------------------------------------------------------------

    def _event(self, at_us: int, name: str, rest: str) -> str:
        self._events += 1
        return f'{{"event_id":"{self._run}-{self._events}","event_time":"{iso_time(at_us)}","event":"{name}",{rest}}}'

    def _page(
        self,
        at_us: int,
        visitor: Visitor,
        path: str,
        status: int,
        size: int,
        referrer: str,
        event: str = "",
        method: str = "GET",
    ) -> None:
        line = (
            f'{visitor.address} - - [{log_time(at_us)}] "{method} {path} HTTP/2.0" {status} {size} '
            f'"{referrer}" "{visitor.browser}"'
        )
        self._count += 1
        heappush(self._happenings, (at_us, self._count, event, line))

    def _broken(self, line: str) -> str:
        self.oddities.broken_lines += 1
        match self.oddities.broken_lines % 3:
            case 0:
                return line[: 20 + self.lines % 20]  # torn when a disk was full
            case 1:
                return "nginx: [warn] 1024 worker_connections exceed open file resource limit: 256"
            case _:
                return '{"level":"error","message":"who configured me to write here?"}'

    def _visitor(self, number: int) -> Visitor:
        device, browser = BROWSERS[int(len(BROWSERS) * self._random.random())]
        known = f'"visitor_id":"v{number}","device":"{device}"'
        return Visitor(address(number), browser, known, self._random.random() < 0.4)


def crowd(time_us: int) -> float:
    """How busy the site is at this time, 1 being the day's mean."""
    hours = (time_us + KOREA_US) / HOUR_US % 24 - 0.5
    before, part = int(hours // 1), hours % 1
    here, there = DAY_SHAPE[before % 24], DAY_SHAPE[(before + 1) % 24]
    return (here + (there - here) * part) * 24 / sum(DAY_SHAPE)


def korean_midnight(now_us: int) -> int:
    """When yesterday began in Korea."""
    return (now_us + KOREA_US) // DAY_US * DAY_US - KOREA_US - DAY_US


def iso_time(at_us: int) -> str:
    """`2026-01-31T09:30:00.120Z`"""
    minute, rest = divmod(at_us, MINUTE_US)
    return f"{_minute(minute)[0]}{rest // SECOND_US:02d}.{rest // 1_000 % 1_000:03d}Z"


def log_time(at_us: int) -> str:
    """`31/Jan/2026:18:30:00 +0900`: web servers write the time of the place where they are."""
    minute, rest = divmod(at_us, MINUTE_US)
    return f"{_minute(minute)[1]}{rest // SECOND_US:02d} +0900"


@lru_cache(maxsize=4096)
def _minute(minute: int) -> tuple[str, str]:
    utc, korea = gmtime(minute * 60), gmtime(minute * 60 + KOREA_US // SECOND_US)
    return strftime("%Y-%m-%dT%H:%M:", utc), strftime("%d/%b/%Y:%H:%M:", korea)


def _about(clinic: Clinic) -> str:
    return (
        f'"path":"{clinic.path}","clinic":"{clinic.name}","district":"{clinic.district.name}",'
        f'"treatment":"{clinic.kind.name}"'
    )


def _demand(district: District, hour: int) -> float:
    away = abs(hour + 0.5 - district.peak_hour)
    return district.weight * (1 + 1.6 * max(0.0, 1 - min(away, 24 - away) / 4))


def _table(choices: Sequence[T], weights: Sequence[float]) -> list[T]:
    """PLACES entries in which each choice stands as often as it weighs."""
    made: list[T] = []
    total, reached = sum(weights), 0.0
    for choice, weight in zip(choices, weights, strict=True):
        reached += weight
        made += [choice] * (round(PLACES * reached / total) - len(made))
    return made
