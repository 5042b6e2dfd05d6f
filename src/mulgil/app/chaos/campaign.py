"""Many seeds, a few at a time, and what they came to together."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

from mulgil.app.chaos.plan import make_plan
from mulgil.app.chaos.process import CONTEXT, warm_up
from mulgil.app.chaos.scenario import Outcome, Scenario


@dataclass(frozen=True)
class ChaosSettings:
    """What a campaign is."""

    seeds: int = 20
    """How many scenarios."""
    first_seed: int = 1
    """Their seeds are this and the next ones."""
    seconds: float = 2.0
    """For how long each has traffic and faults."""
    together: int = 2
    """How many run at once."""
    keep: Path | None = None
    """Folder in which failed scenarios are kept; None: in the system's temporary folder."""


@dataclass(slots=True)
class Sum:
    """What all seeds came to."""

    seeds: int = 0
    failed: list[Outcome] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    strange: int = 0
    starts: int = 0
    kills: int = 0
    planted: int = 0
    rotations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, one: Outcome) -> None:
        """Count one seed's outcome."""
        self.seeds += 1
        for name in ("acknowledged", "lost", "doubled", "strange", "starts", "kills", "planted", "rotations"):
            setattr(self, name, getattr(self, name) + getattr(one, name))
        self.faults += one.faults
        self.phases += one.phases
        self.left_out += one.left_out
        if one.problems:
            self.failed.append(one)


def run_seeds(settings: ChaosSettings) -> Iterator[Outcome]:
    """Run all scenarios; their outcomes in the order in which they end."""
    seeds = iter(range(settings.first_seed, settings.first_seed + settings.seeds))
    with ProcessPoolExecutor(settings.together, CONTEXT) as pool:
        running: set[Future[Outcome]] = set()
        try:
            while True:
                for seed in islice(seeds, settings.together - len(running)):
                    running.add(pool.submit(run_seed, seed, settings.seconds, settings.keep))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_seed(seed: int, seconds: float, keep: Path | None = None) -> Outcome:
    """Run one scenario; its folder stays if it failed."""
    warm_up()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f"mulgil-chaos-{seed}-", dir=keep))
    outcome = Scenario(make_plan(seed, seconds), folder).run()
    if not outcome.problems:
        with suppress(OSError):
            shutil.rmtree(folder)
    return outcome


def repeat_command(outcome: Outcome, seconds: float) -> str:
    """What runs a seed again."""
    return f"mulgil chaos --seeds 1 --seed {outcome.seed} --seconds {seconds:g}"
