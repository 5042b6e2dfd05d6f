"""One seed: a project in a temporary folder, real processes over it, faults, a clean start, and the comparison."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event

from mulgil import delivery, state
from mulgil.app.books import balance
from mulgil.app.chaos import verify
from mulgil.app.chaos.books import Books
from mulgil.app.chaos.client import Client, Gate
from mulgil.app.chaos.disk import SmallDisk, can_mount
from mulgil.app.chaos.log import LogWriter
from mulgil.app.chaos.plan import Fault, Plan
from mulgil.app.chaos.process import Copy, Installed, Process, warm
from mulgil.app.chaos.steps import Board, Planted
from mulgil.app.chaos.tear import tear
from mulgil.app.settings import load_project
from mulgil.app.wiring import open_lake
from mulgil.clock import Clock, SystemClock

POLL_S = 0.005
END_S = 30.0
"""A server that is asked to stop, or to run once, has this long."""
JUMPED_S_MAX = 48 * 3600
"""The wall clock is never further off: keys and event ids are remembered for days."""
PORTS = range(20_000, 30_000)

PROJECT = """\
listen: 127.0.0.1:{port}
lake: ./lake
state: ./state.db
stream: {{path: ./stream, shards: {shards}}}
delivery: {{visible_ms: {visible_ms}, file_mb: 1, snapshots: 3}}
limits: {{disk_free_mb: 0}}
sources:
  web: {{type: http, table: bronze.web, time: at}}
  app: {{type: files, path: {logs}/app*.log*, format: json, table: bronze.app, time: at}}
"""


@dataclass(slots=True)
class Outcome:
    """What became of a seed."""

    seed: int
    problems: list[str] = field(default_factory=list)
    """Empty: nothing lost, nothing doubled, the books balance, and every process did as it should."""
    acknowledged: int = 0
    """Records that had to be there: answered with 202, or written into a log."""
    lost: int = 0
    doubled: int = 0
    strange: int = 0
    starts: int = 0
    kills: int = 0
    """SIGKILLs of servers and agents, planted ones among them."""
    planted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    """Inside which steps killed servers were."""
    rotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Faults that this machine does not allow."""
    events: list[str] = field(default_factory=list)
    """What happened, with times."""
    seconds: float = 0.0
    folder: Path | None = None
    """Where everything lies, when it failed."""


class Wrong(Exception):  # noqa: N818 (a finding, not an error)
    """The scenario cannot go on: something did what it must not."""


class Scenario:
    """Leads one plan from its first start to its verdict."""

    def __init__(self, plan: Plan, folder: Path, clock: Clock | None = None) -> None:
        """`folder` is new and the scenario's own."""
        self.outcome = Outcome(plan.seed)
        self._plan = plan
        self._folder = folder
        self._clock = clock or SystemClock()
        self._random = Random(plan.seed + 1)
        self._project = folder / "project"
        self._log = folder / "server.log"
        self._began_s = self._clock.monotonic_s()
        self._gate = Gate()
        self._web, self._app = Books(), Books()
        self._server: Process | None = None
        self._planted: Planted | None = None
        self._started_at = 0
        self._full_until_s = 0.0
        self._disk: SmallDisk | None = None

    def run(self) -> Outcome:
        """Do all of it; never raises for what the processes under test do."""
        outcome = self.outcome
        warm()
        self._began_s = self._clock.monotonic_s()
        try:
            with self._place():
                try:
                    self._lead()
                except Wrong as wrong:
                    outcome.problems.append(str(wrong))
                if outcome.problems:
                    self._keep()
        finally:
            outcome.seconds = self._clock.monotonic_s() - self._began_s
        return outcome

    @contextmanager
    def _place(self) -> Iterator[None]:
        """The project's folder, on a small disk where the plan says so, and its shared memory."""
        self._project.mkdir()
        if self._plan.disk_mb and can_mount():
            self._disk = SmallDisk(self._project, self._plan.disk_mb)
        elif self._plan.disk_mb:
            self.outcome.left_out["full"] += sum(fault.kind == "full" for fault in self._plan.faults)
        port = _free_port(self._random)
        text = PROJECT.format(
            port=port, shards=self._plan.shards, visible_ms=self._plan.visible_ms, logs=self._folder / "logs"
        )
        (self._project / "mulgil.yaml").write_text(text)
        self._board = Board(self._folder / "board")
        self._clients = [
            Client(port, number, Random(self._random.random()), self._web, self._gate, self._clock)
            for number in range(self._plan.clients)
        ]
        self._writers = [
            LogWriter(self._folder / "logs", number, log, Random(self._random.random()), self._app, self._clock)
            for number, log in enumerate(self._plan.logs)
        ]
        try:
            yield
        finally:
            self._stop_traffic()
            self._end_server()
            self._board.close()
            if self._disk is not None:
                self._disk.close()

    # -- the play -----------------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        self._start(installed=self._plan.installed)
        for one in (*self._clients, *self._writers):
            one.start()
        for fault in self._plan.faults:
            self._until(fault.at_s)
            if fault.kind == "full" and self._disk is None:
                continue
            self.outcome.faults[fault.kind] += 1
            self._happen(fault)
        self._until(self._plan.seconds)
        self._stop_traffic()
        self._free_disk()
        self._finish()
        self._judge()

    def _until(self, at_s: float) -> None:
        """Let time pass, and keep a server running."""
        while (left_s := at_s - self._now_s()) > 0:
            self._tend()
            self._pause(min(left_s, POLL_S))

    def _tend(self) -> None:
        """Start the server again where it was killed as planned, or could not live without disk space."""
        if self._full_until_s and self._now_s() >= self._full_until_s:
            self._free_disk()
        assert self._server is not None
        status = self._server.status()
        if status is None:
            return
        if status == -signal.SIGKILL and self._planted is not None:
            self.outcome.planted += 1
            self._note(f"the planted kill was reached ({self._planted.step})")
            self._killed()
            self._start()
        elif self._full_until_s and status == 1:
            self._pause(0.05)
            self._start()
        else:
            raise Wrong(f"the server ended by itself with status {status}: {_tail(self._log)}")

    def _happen(self, fault: Fault) -> None:
        self._note(str(fault)[10:])
        match fault.kind:
            case "kill":
                self._kill()
                self._pause(fault.lasts_s)
                self._start()
            case "planted":
                self._kill()
                self._start(planted=Planted(fault.step, fault.count, fault.after))
                until_s = self._now_s() + fault.lasts_s
                while self._planted is not None and self._now_s() < until_s:
                    self._tend()
                    self._pause(POLL_S)
            case "term":
                self._terminate()
                self._pause(fault.lasts_s)
                self._start()
            case "torn":
                self._kill()
                self._free_disk()
                self._gate.shut()
                for words in tear(self._project / "stream" / "web", self._floors(), self._random):
                    self._note(words)
                self._gate.open()
                self._pause(fault.lasts_s)
                self._start()
            case "pause":
                self._signal(signal.SIGSTOP)
                self._pause(fault.lasts_s)
                self._signal(signal.SIGCONT)
            case "second":
                self._second()
            case "books":
                self._look_at_books()
            case "clock":
                offset_s = self._board.clock_us / 1e6 + fault.jump_s
                self._board.clock_us = int(max(-JUMPED_S_MAX, min(JUMPED_S_MAX, offset_s)) * 1e6)
            case "full":
                assert self._disk is not None
                left = self._disk.fill(self._random)
                self._note(f"{left} bytes are left on the disk")
                self._full_until_s = self._now_s() + fault.lasts_s

    def _finish(self) -> None:
        """The last stop, a run over what is left, and the books as the command line sees them."""
        self._tend()
        if self._plan.gentle_end:
            self._terminate()
        else:
            self._kill()
        twice = 2 if self._plan.seed % 4 == 0 else 1
        for arguments in (["run", "--once"], ["ledger"]) * twice:
            process = Copy(["--project", str(self._project), *arguments], self._log, self._folder / "board")
            status = process.wait(END_S)
            self._note(f"mulgil {' '.join(arguments)}: exit status {status}")
            if status != 0:
                process.send(signal.SIGKILL)
                raise Wrong(f"mulgil {' '.join(arguments)} ended with {status}: {_tail(self._log)}")

    def _judge(self) -> None:
        outcome = self.outcome
        for client in self._clients:
            outcome.problems += client.wrong
        for writer in self._writers:
            outcome.rotations += writer.rotations
            if writer.failed is not None:
                outcome.problems.append(f"the log's writer failed: {writer.failed}")
        lake = open_lake(load_project(self._project))
        try:
            verdicts = [
                verify.check_events(lake, "bronze.web", self._web),
                verify.check_lines(lake, "bronze.app", self._app),
            ]
            outcome.problems += [f"the books do not balance: {one}" for one in balance(lake)]
            for source, _, _, entry in delivery.ledger.read(lake.database):
                if entry.bytes_unreadable:
                    outcome.problems.append(f"{entry.bytes_unreadable} bytes of {source} are said to be unreadable")
        finally:
            lake.close()
        for verdict in verdicts:
            outcome.acknowledged += verdict.certain
            outcome.lost += verdict.lost
            outcome.doubled += verdict.doubled
            outcome.strange += verdict.strange
            outcome.problems += verdict.problems
        for line in self._log.read_text(errors="replace").splitlines():
            if re.search(r'"event": "(flow_stopped|care_failed)"|^Traceback|panicked', line):
                outcome.problems.append(f"in the server's log: {line[:2000]}")

    # -- the server ---------------------------------------------------------------------------------------------------

    def _start(self, *, planted: Planted | None = None, installed: bool = False) -> None:
        arguments = ["--project", str(self._project), "run"]
        self._planted = planted
        self._started_at = self._log.stat().st_size if self._log.exists() else 0
        self.outcome.starts += 1
        if installed:
            self._server = Installed(arguments, self._log)
        else:
            self._server = Copy(arguments, self._log, self._folder / "board", planted)

    def _kill(self) -> None:
        """SIGKILL, wherever it is."""
        assert self._server is not None
        self._server.send(signal.SIGKILL)
        status = self._server.wait(END_S)
        if status not in (-signal.SIGKILL, 1):
            raise Wrong(f"a killed server ended with {status}: {_tail(self._log)}")
        self._killed()

    def _killed(self) -> None:
        self.outcome.kills += 1
        self._planted = None
        found = self._board.take()
        self.outcome.phases.update(found or ["elsewhere"])
        if found:
            self._note(f"killed inside {', '.join(found)}")

    def _terminate(self) -> None:
        """SIGTERM: it finishes what it does, and ends with 0."""
        assert self._server is not None
        self._server.send(signal.SIGTERM)
        status = self._server.wait(END_S)
        if status == -signal.SIGKILL and self._planted is not None:
            self.outcome.planted += 1
            self._killed()
        elif status != 0 and not (self._full_until_s or status == -signal.SIGTERM):
            raise Wrong(f"a server that was asked to stop ended with {status}: {_tail(self._log)}")

    def _signal(self, number: int) -> None:
        assert self._server is not None
        self._server.send(number)

    def _end_server(self) -> None:
        if self._server is not None and self._server.status() is None:
            self._server.send(signal.SIGKILL)
            self._server.wait(END_S)

    def _second(self) -> None:
        """Start another server on the same folder: it must refuse, and change nothing."""
        assert self._server is not None
        once = ["--once"] * (self._random.random() < 0.5)
        if not self._runs():
            return
        before = self._epoch()
        log = self._folder / "second.log"
        second = Copy(["--project", str(self._project), "run", *once], log, self._folder / "board")
        status = second.wait(END_S)
        if self._server.status() is not None:  # the first one died meanwhile, so the second was right to run
            second.send(signal.SIGKILL)
            second.wait(END_S)
            return
        if status != 1 or "runs this project already" not in _tail(log):
            second.send(signal.SIGKILL)
            raise Wrong(f"a second server on one folder ended with {status}: {_tail(log)}")
        if self._epoch() != before:
            raise Wrong("a second server was refused, but has become the writer")

    def _runs(self) -> bool:
        """Whether the server has come up, which is waited for."""
        assert self._server is not None
        while self._server.status() is None:
            if self._log.exists() and b'"event": "started"' in self._log.read_bytes()[self._started_at :]:
                return True
            self._pause(POLL_S)
        return False

    def _look_at_books(self) -> None:
        """The books balance at any moment."""
        if self._full_until_s or not (self._project / "state.db").exists():
            return
        reader = Copy(["--project", str(self._project), "ledger"], self._log, self._folder / "board")
        status = reader.wait(END_S)
        if status != 0:
            reader.send(signal.SIGKILL)
            raise Wrong(f"mulgil ledger ended with {status} while the server ran: {_tail(self._log)}")

    # -- what lies around it ------------------------------------------------------------------------------------------

    def _floors(self) -> dict[int, int]:
        """Per shard of the stream, the sequence number below which everything was acknowledged or delivered."""
        floors: dict[int, int] = {}
        for client in self._clients:
            for shard, end in client.ends.items():
                floors[shard] = max(end, floors.get(shard, 0))
        database = state.Database(self._project / "state.db")
        delivery.declare(database)
        for part, position in delivery.positions.load(database, "web").items():
            shard = int(part.removeprefix("shard-"))
            floors[shard] = max(position.place, floors.get(shard, 0))
        database.close()
        return floors

    def _epoch(self) -> int:
        database = state.Database(self._project / "state.db")
        with database.read() as read:
            rows = read.execute("SELECT epoch FROM writer_epoch")
        database.close()
        return int(rows[0][0]) if rows else 0

    def _free_disk(self) -> None:
        if self._disk is not None:
            self._disk.free()
        self._full_until_s = 0.0

    def _stop_traffic(self) -> None:
        self._gate.open()
        threads: list[Client | LogWriter] = [*self._clients, *self._writers]
        for one in threads:
            one.stop()
        for one in threads:
            if one.ident is not None:
                one.join()

    def _keep(self) -> None:
        """Leave everything behind, with an account of what happened."""
        self.outcome.folder = self._folder
        self._end_server()
        if self._disk is not None:
            shutil.copytree(self._project, self._folder / "project.copy", ignore=shutil.ignore_patterns("ballast"))
        account = {
            "seed": self._plan.seed,
            "plan": str(self._plan),
            "problems": self.outcome.problems,
            "events": self.outcome.events,
        }
        (self._folder / "account.json").write_text(json.dumps(account, indent=2))

    def _note(self, what: str) -> None:
        self.outcome.events.append(f"{self._now_s():6.2f} s  {what}")

    def _now_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._clock.wait(Event(), seconds)


def _free_port(random: Random) -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _tail(log: Path) -> str:
    """The last lines of a log, on one line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-8:])[-1500:]
