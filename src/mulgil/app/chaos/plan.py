"""A scenario, made from its seed alone: what the project is, what is sent, and what goes wrong when.

The same seed makes the same plan on every machine; where threads and processes meet, their timing is the machine's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

FaultKind = Literal["kill", "planted", "term", "pause", "second", "torn", "clock", "full", "books", "agent"]

WEIGHTS: dict[FaultKind, int] = {
    "kill": 7,
    "planted": 7,
    "term": 2,
    "pause": 2,
    "second": 1,
    "torn": 3,
    "clock": 2,
    "full": 3,
    "books": 1,
    "agent": 3,
}
"""How often each fault is drawn, relative to the others."""

SERVER_STEPS = ("sync", "rename", "delete", "write", "begin", "commit", "committed")
AGENT_STEPS = ("send", "save")
"""Steps at which a planted kill may lie: see `steps.py`."""

Rotation = Literal["rename", "create", "copytruncate", "gzip"]

HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong."""

    at_s: float
    """When, counted from the first start of the server."""
    kind: FaultKind
    lasts_s: float = 0.0
    """How long a server stays down, stopped, or without disk space; planted: how long the kill is waited for."""
    step: str = ""
    """planted, agent: at which step the process kills itself; agent: empty where it is killed at once"""
    count: int = 0
    """planted: at the how many-th such step of the next server's life"""
    after: bool = False
    """planted: once the step is done, before anybody hears of it; otherwise before it is done"""
    jump_s: float = 0.0
    """clock: by how much the wall clock is set forward (or back)"""

    def __str__(self) -> str:
        words = f"for {self.lasts_s:.2f} s" if self.lasts_s else ""
        if self.step:
            words = f"{'after' if self.after else 'before'} {self.step} number {self.count}"
        elif self.kind == "clock":
            words = f"by {self.jump_s:+.0f} s"
        return f"{self.at_s:6.2f} s  {self.kind} {words}".rstrip()


@dataclass(frozen=True, slots=True)
class LogPlan:
    """One log file's writer."""

    rotations: tuple[Rotation, ...]
    """The ways in which this log is rotated, one drawn each time."""
    rotate_s: float
    """Mean time between rotations; storms are shorter."""
    lines_max: int
    """Most lines written at once."""
    banner: bool
    """Whether every new file begins with the same line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a scenario that its seed decides."""

    seed: int
    seconds: float
    """For how long traffic and faults go on."""
    shards: int
    visible_ms: int
    clients: int
    logs: tuple[LogPlan, ...]
    shipped: tuple[LogPlan, ...]
    """Logs that an agent ships instead of the server's own files source."""
    disk_mb: int
    """Size of the small disk that the project lies on; 0: the machine's own disk."""
    hot: bool
    """Whether tables are compacted and swept all the time, and not only when it is worth it."""
    installed: bool
    """Whether the first server is started as the installed program, not as a copy of a warm process."""
    gentle_end: bool
    """Whether the last server is asked to stop; otherwise it is killed too."""
    faults: tuple[Fault, ...]


def make_plan(seed: int, seconds: float) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    disk_mb = random.choice((0, 0, 0, 40, 160))
    shipped = tuple(_log(random) for _ in range(random.choice((0, 0, 1, 2))))
    return Plan(
        seed=seed,
        seconds=seconds,
        shards=random.choice((1, 1, 2, 3)),
        visible_ms=random.choice((50, 50, 100, 250)),
        clients=random.choice((2, 3, 4)),
        logs=tuple(_log(random) for _ in range(random.choice((1, 1, 2)))),
        shipped=shipped,
        disk_mb=disk_mb,
        hot=random.random() < 0.6,
        installed=random.random() < 0.1,
        gentle_end=random.random() < 0.5,
        faults=tuple(_faults(random, seconds, full=disk_mb > 0, agent=bool(shipped))),
    )


def _log(random: Random) -> LogPlan:
    kinds: tuple[Rotation, ...] = ("rename", "create", "copytruncate", "gzip")
    return LogPlan(
        rotations=tuple(random.sample(kinds, random.randint(1, len(kinds)))),
        rotate_s=random.choice((0.05, 0.2, 0.5, 5.0)),
        lines_max=random.choice((2, 10, 60)),
        banner=random.random() < 0.3,
    )


def _faults(random: Random, seconds: float, *, full: bool, agent: bool) -> list[Fault]:
    weights = dict(WEIGHTS)
    if not full:
        del weights["full"]
    if not agent:
        del weights["agent"]
    pause_s = random.choice((0.15, 0.3, 0.6))
    faults: list[Fault] = []
    at_s = random.uniform(0, pause_s)
    while at_s < seconds:
        (kind,) = random.choices(list(weights), list(weights.values()))
        faults.append(_fault(random, kind, at_s))
        at_s += random.expovariate(1 / pause_s)
    return faults


def _fault(random: Random, kind: FaultKind, at_s: float) -> Fault:
    match kind:
        case "planted":
            step = random.choice(SERVER_STEPS)
            many = 8 if step in ("begin", "commit", "committed", "delete") else 25
            after = random.random() < 0.5
            return Fault(at_s, kind, lasts_s=0.6, step=step, count=random.randint(1, many), after=after)
        case "agent" if random.random() < 0.5:
            after, many = random.random() < 0.5, random.randint(1, 8)
            return Fault(at_s, kind, lasts_s=0.3, step=random.choice(AGENT_STEPS), count=many, after=after)
        case "agent":
            return Fault(at_s, kind)
        case "clock":
            size_s = random.choice((1.0, 90.0, HOUR_S, 20 * HOUR_S))
            return Fault(at_s, kind, jump_s=random.choice((-1, 1)) * size_s * random.uniform(0.5, 1))
        case "pause" | "full":
            return Fault(at_s, kind, lasts_s=random.uniform(0.05, 0.8))
        case "second" | "books":
            return Fault(at_s, kind)
        case _:
            return Fault(at_s, kind, lasts_s=random.choice((0.0, 0.0, 0.05, 0.3)))
