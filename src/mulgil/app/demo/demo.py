"""The demo from its first line to its exit status. Called by `mulgil demo`.

The server is started before anything heavy is imported here, so that the two start up side by side.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from mulgil.app.demo import folder as folders
from mulgil.app.demo import show
from mulgil.app.demo.log_writer import AccessLog
from mulgil.app.demo.poster import Posted, Poster
from mulgil.app.demo.server import Server
from mulgil.app.demo.story import Story
from mulgil.app.demo.traffic import Pace, Traffic
from mulgil.app.settings import FilesSourceSettings, HttpSourceSettings, ProjectSettings, load_project
from mulgil.clock import Clock, SystemClock
from mulgil.errors import Invalid

if TYPE_CHECKING:
    from mulgil.app.demo.watch import Seen
    from mulgil.app.lake import Lake

LOOK_S = 0.25
REST_S_MAX = 60.0
"""How long the lake may take to hold everything, once the traffic has ended."""
KILL_AT = 0.5
"""How much of the day is over when the server is killed."""
OLD_LOGS = 30
INTERRUPTED = 130
SOURCES = ("web", "access")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What a user may choose."""

    folder: Path | None = None
    """Where the project goes; None: a new folder in the current one."""
    rate: int = 7_000
    """Events a second, in the mean of the day."""
    seconds: float = 16.0
    """How long the site's day takes."""
    seed: int = 7
    """The same seed makes the same traffic."""
    kill: bool = True
    """Kill the server once in the middle of it."""
    keep: bool = False
    """Go on after the questions, until Ctrl-C."""


def run_demo(settings: DemoSettings, console: Console, clock: Clock | None = None) -> int:
    """Everything; the exit status: 0 when the lake holds exactly what was handed over, else 1, interrupted 130.

    Raises `Invalid` for a folder that is something else, `Broken` when the server ends by itself.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    demo = _Demo(settings, console, clock or SystemClock())
    try:
        return demo.run()
    except KeyboardInterrupt:
        console.print(f" Stopped. Everything is still in {demo.shown_folder}", soft_wrap=True)
        return INTERRUPTED
    finally:
        demo.close()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Demo:
    def __init__(self, settings: DemoSettings, console: Console, clock: Clock) -> None:
        self._settings = settings
        self._console = console
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._folder = (settings.folder or folders.new_folder(Path.cwd())).absolute()
        self._run = folders.prepare(self._folder)
        self._project = _project(self._folder)
        self._server = Server(self._folder, self._project.listen.host, self._project.listen.port, clock)
        self._show = show.Show(console)
        self._story = Story(lambda text, style="": self._show.moment(self._elapsed_s(), text, style))
        self._rates = show.Rates(settings.seconds / show.SPARKS)
        self._log: AccessLog | None = None
        self._poster: Poster | None = None
        self._traffic: Traffic | None = None
        self._lake: Lake | None = None
        self._before: Seen | None = None
        self._never = threading.Event()

    @property
    def shown_folder(self) -> str:
        """As a user would type it."""
        here = Path.cwd()
        return f"./{self._folder.relative_to(here)}" if self._folder.is_relative_to(here) else str(self._folder)

    def run(self) -> int:
        """See `run_demo`."""
        show.title(self._console, "물길 Mulgil", self.shown_folder)
        said = f"A day of a small clinic-booking site in {self._settings.seconds:g} seconds: its pages post events,"
        self._console.print(f" {said}\n its web server writes an access log, and `mulgil run` brings both into SQL.\n")
        try:
            self._show.open()
            self._start()
            self._day()
        finally:
            self._show.close()
        self._ask()
        if self._settings.keep:
            return self._keep()
        return self._prove()

    def close(self) -> None:
        """Stop everything that was started; the folder remains."""
        for one in (self._traffic and self._traffic.stop, self._poster and self._poster.close, self._server.stop):
            if one:
                one()
        if self._log:
            self._log.close()
        if self._lake:
            self._lake.close()

    # -- acts, in their order -----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._server.start()
        self._story.say("`mulgil run` is starting, a process of its own")
        from mulgil.app.demo import watch
        from mulgil.app.wiring import open_lake

        self._server.wait_ready()
        self._lake = open_lake(self._project, self._clock)
        self._before = watch.look(self._lake)
        listen = self._project.listen
        self._story.say(f"it listens on {listen}; the site opens, at midnight in Korea")
        self._log = AccessLog(self._folder / "logs", keep=OLD_LOGS)
        self._poster = Poster(listen.host, listen.port, "web", f"demo-{self._run}", self._clock)
        pace = Pace(self._settings.rate, self._settings.seconds)
        self._traffic = Traffic(self._settings.seed, self._run, pace, self._poster, self._log, self._clock)

    def _day(self) -> None:
        assert self._traffic
        self._traffic.start_day()
        to_kill = self._settings.kill
        while self._traffic.running:
            self._look()
            if to_kill and self._traffic.progress >= KILL_AT:
                to_kill = False
                self._story.killed(self._server.pid)
                self._server.kill()
                self._server.start()
            self._clock.wait(self._never, LOOK_S)
        self._story.say("the day is over")
        self._rest()

    def _rest(self) -> None:
        """Until the lake holds everything that was made, or does not come to it."""
        assert self._traffic
        began_s = self._traffic.ended_s
        while not self._look():
            self._clock.wait(self._never, LOOK_S / 2)
            if self._clock.monotonic_s() - began_s > REST_S_MAX:
                self._story.say(f"not everything is in the lake after {REST_S_MAX:g} s", "bold red")
                return
        took_s = self._clock.monotonic_s() - began_s
        self._story.say(f"everything is in the lake, {took_s:.1f} s after the last event", "green")

    def _ask(self) -> None:
        from mulgil.app.demo.answers import answers
        from mulgil.app.wiring import open_engine

        assert self._lake
        engine = open_engine(self._lake)
        try:
            for number, one in enumerate(answers(engine, self._folder / "questions"), 1):
                show.answer(self._console, number, one)
        finally:
            engine.close()

    def _keep(self) -> int:
        """Traffic until Ctrl-C; then the proof."""
        assert self._traffic
        self._console.print(" The site goes on in real time. Ctrl-C ends it.\n")
        self._rates = show.Rates(1.0)
        self._traffic.start_keeping()
        try:
            self._show.open()
            while True:
                self._look()
                self._clock.wait(self._never, LOOK_S)
        except KeyboardInterrupt:
            self._traffic.stop()
            self._rest()
        finally:
            self._show.close()
        return self._prove() or INTERRUPTED

    def _prove(self) -> int:
        from mulgil.app.demo import watch
        from mulgil.app.demo.proof import claims
        from mulgil.app.wiring import open_engine

        assert self._lake
        assert self._poster
        assert self._traffic
        assert self._before
        self._server.check()
        self._poster.close()
        self._server.stop()
        engine = open_engine(self._lake)
        try:
            now, posted = watch.look(self._lake), self._poster.posted()
            made = claims(self._run, self._traffic.site, posted, engine, self._before, now)
        finally:
            engine.close()
        show.heading(self._console, "The proof")
        show.claims(self._console, made)
        good = all(one.holds for one in made) and not now.differences
        show.verdict(self._console, good, now, posted)
        self._next()
        return 0 if good else 1

    def _next(self) -> None:
        mulgil, python = _programs(self._folder)
        show.heading(self._console, "What to try next")
        show.commands(
            self._console,
            (
                (f"cd {self.shown_folder}", "a project like any other: mulgil.yaml says everything"),
                (f'{mulgil} sql "SELECT event, count(*) FROM web GROUP BY ALL"', "any SQL; without it, a shell"),
                (f"{mulgil} quarantine show bronze.access", "the lines that were none, and why"),
                (f"{mulgil} ledger", "the books; exit status 0 says that they balance"),
                (f"{python} read_with_pyiceberg.py", "the tables in PyIceberg, without Mulgil"),
                (f"{mulgil} run", "the line goes on"),
            ),
        )

    # -- seeing -------------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Draw what there is; whether the lake holds everything that was made."""
        from mulgil.app.demo import watch

        assert self._lake
        assert self._poster
        assert self._traffic
        assert self._before
        self._server.check()
        if self._poster.refused or self._traffic.failed:
            raise self._poster.refused or Invalid(f"cannot be written: {self._traffic.failed}", where="the access log")
        up = self._server.answers()
        seen, posted, site = watch.look(self._lake), self._poster.posted(), self._traffic.site
        self._rates.add(self._clock.monotonic_s(), posted.acknowledged)
        rows = {name: seen.tables[name].rows - self._before.tables[name].rows for name in SOURCES}
        rows["access"] += seen.quarantined["access"] - self._before.quarantined["access"]
        lags = {name: self._traffic.lag_s(name, rows[name]) for name in SOURCES}
        self._show.draw(self._picture(seen, posted, lags, up))
        self._story.follow(seen, self._server.pid, up, rows["web"], self._traffic.rotations)
        return (
            posted.acknowledged == posted.sent
            and rows["web"] >= posted.acknowledged - posted.copies
            and rows["access"] >= site.lines
        )

    def _picture(self, seen: Seen, posted: Posted, lags: Mapping[str, float], up: bool) -> show.Picture:
        assert self._traffic
        made = {"web": (posted.sent, posted.acknowledged), "access": (self._traffic.site.lines, None)}
        lines = [
            show.SourceLine(
                name,
                *made[name],
                rows=table.rows,
                lag_s=lags[name],
                files=table.files,
                mean_bytes=table.size_bytes // max(1, table.files),
            )
            for name, table in seen.tables.items()
            if name in made
        ]
        return show.Picture(
            state=self._state(),
            up=up,
            elapsed_s=self._elapsed_s(),
            rates=self._rates.shown(),
            sources=lines,
            seen=seen,
        )

    def _state(self) -> str:
        assert self._traffic
        if self._traffic.running:
            return f"{self._rates.now():,.0f} events/s   {self._traffic.korean_time} in Korea"
        return f"{self._rates.mean():,.0f} events/s in the mean"

    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s


def _project(folder: Path) -> ProjectSettings:
    """The project in the folder. Raises `Invalid` where it is no longer one that the site can write to."""
    project = load_project(folder)
    kinds = {name: type(source) for name, source in project.sources.items()}
    if kinds != {"web": HttpSourceSettings, "access": FilesSourceSettings}:
        raise Invalid(
            "the demo writes to an http source `web` and a files source `access`",
            where=str(project.file),
            hint="declare these two, or let the demo make a new folder",
        )
    return project


def _programs(folder: Path) -> tuple[str, str]:
    """How to call mulgil and Python from within the folder: by name where that finds this very installation."""
    own = Path(sys.executable).parent
    shown = []
    for name in ("mulgil", "python"):
        found = shutil.which(name)
        by_name = found is not None and Path(found).parent == own
        path = str(own / name)
        shown.append(name if by_name else min(os.path.relpath(path, folder), path, key=len))
    return shown[0], shown[1]
