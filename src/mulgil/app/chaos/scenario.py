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
from mulgil.app.chaos.process import Copy, warm
from mulgil.app.chaos.steps import Board, Planted
from mulgil.app.chaos.supervised import END_S, Supervised, Wrong, tail
from mulgil.app.chaos.tear import tear
from mulgil.app.settings import load_project
from mulgil.app.wiring import open_lake
from mulgil.clock import Clock, SystemClock

POLL_S = 0.005
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
  far: {{type: agent, format: json, table: bronze.far, time: at}}
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
    """Inside which steps killed processes were."""
    rotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Faults that this machine does not allow."""
    events: list[str] = field(default_factory=list)
    """What happened, with times."""
    seconds: float = 0.0
    folder: Path | None = None
    """Where everything lies, when it failed."""


class Scenario:
    """Leads one plan from its first start to its verdict."""

    def __init__(self, plan: Plan, folder: Path, clock: Clock | None = None) -> None:
        """`folder` is new, empty and the scenario's own."""
        self.outcome = Outcome(plan.seed)
        self._plan = plan
        self._folder = folder
        self._clock = clock or SystemClock()
        self._random = Random(plan.seed + 1)
        self._project = folder / "project"
        self._gate = Gate()
        self._web, self._app, self._far = Books(), Books(), Books()
        self._full_until_s = 0.0
        self._disk: SmallDisk | None = None
        warm()
        self._began_s = self._clock.monotonic_s()

    def run(self) -> Outcome:
        """Do all of it; never raises for what the processes under test do."""
        outcome = self.outcome
        try:
            with self._place():
                try:
                    self._lead()
                except Wrong as wrong:
                    outcome.problems.append(str(wrong))
                for one in self._processes:
                    outcome.starts += one.starts
                    outcome.kills += one.kills
                    outcome.planted += one.reached
                    outcome.phases += one.phases
                if outcome.problems:
                    self._keep()
        finally:
            outcome.seconds = self._now_s()
        return outcome

    @contextmanager
    def _place(self) -> Iterator[None]:
        """The project's folder, on a small disk where the plan says so, and all who take part."""
        plan, folder, random = self._plan, self._folder, self._random
        self._project.mkdir()
        if plan.disk_mb and can_mount():
            self._disk = SmallDisk(self._project, plan.disk_mb)
        elif plan.disk_mb:
            self.outcome.left_out["full"] += sum(fault.kind == "full" for fault in plan.faults)
        port = _free_port(random)
        logs, shipped = folder / "logs", folder / "shipped"
        text = PROJECT.format(port=port, shards=plan.shards, visible_ms=plan.visible_ms, logs=logs)
        (self._project / "mulgil.yaml").write_text(text)
        run = ["--project", str(self._project), "run"]
        self._server = Supervised("server", run, folder, self._note, hot=plan.hot)
        url, state_file = f"http://127.0.0.1:{port}", str(folder / "agent.db")
        to = ["--server", url, "--source", "far", "--format", "json", "--state", state_file]
        self._agent = Supervised("agent", ["agent", *to, f"{shipped}/app*.log*"], folder, self._note)
        self._processes = (self._server, self._agent)
        self._tools = Board(folder / "tools.board")
        self._clients = [
            Client(port, number, Random(random.random()), self._web, self._gate, self._clock)
            for number in range(plan.clients)
        ]
        self._writers = [
            LogWriter(place, number, log, Random(random.random()), books, self._clock)
            for place, books, plans in ((logs, self._app, plan.logs), (shipped, self._far, plan.shipped))
            for number, log in enumerate(plans)
        ]
        try:
            yield
        finally:
            self._stop_traffic()
            for one in self._processes:
                one.close()
            self._tools.close()
            if self._disk is not None:
                self._disk.close()

    # -- the play -----------------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        self._server.start(installed=self._plan.installed)
        if self._plan.shipped:
            self._agent.start()
        for one in (*self._clients, *self._writers):
            one.start()
        for fault in self._plan.faults:
            self._until(fault.at_s)
            if fault.kind == "full" and self._disk is None:
                continue
            self.outcome.faults[fault.kind] += 1
            self._note(str(fault)[10:])
            self._happen(fault)
        self._until(self._plan.seconds)
        self._stop_traffic()
        self._free_disk()
        self._finish()
        self._judge()

    def _until(self, at_s: float) -> None:
        """Let time pass, and keep everything running."""
        while (left_s := at_s - self._now_s()) > 0:
            self._tend()
            self._pause(min(left_s, POLL_S))

    def _tend(self) -> None:
        if self._full_until_s and self._now_s() >= self._full_until_s:
            self._free_disk()
        if not self._server.tend():
            self._pause(POLL_S)
        if self._plan.shipped:
            self._agent.tend()

    def _happen(self, fault: Fault) -> None:
        server = self._server
        match fault.kind:
            case "kill":
                server.kill()
                self._pause(fault.lasts_s)
                server.start()
            case "planted":
                server.kill()
                server.start(planted=Planted(fault.step, fault.count, fault.after))
                self._await_planted(server, fault)
            case "agent":
                self._agent.kill()
                self._agent.start(planted=Planted(fault.step, fault.count, fault.after) if fault.step else None)
                self._await_planted(self._agent, fault)
            case "term":
                server.terminate()
                self._pause(fault.lasts_s)
                server.start()
            case "torn":
                server.kill()
                self._free_disk()
                self._gate.shut()
                for words in tear(self._project / "stream" / "web", self._floors(), self._random):
                    self._note(words)
                self._gate.open()
                self._pause(fault.lasts_s)
                server.start()
            case "pause":
                server.send(signal.SIGSTOP)
                self._pause(fault.lasts_s)
                server.send(signal.SIGCONT)
            case "second":
                self._second()
            case "books":
                self._look_at_books()
            case "clock":
                offset_s = self._tools.clock_us / 1e6 + fault.jump_s
                for board in (self._server.board, self._agent.board, self._tools):
                    board.clock_us = int(max(-JUMPED_S_MAX, min(JUMPED_S_MAX, offset_s)) * 1e6)
            case "full":
                assert self._disk is not None
                left = self._disk.fill(self._random)
                self._note(f"{left} bytes are left on the disk")
                self._full_until_s = self._now_s() + fault.lasts_s
                server.hard_times(True)

    def _await_planted(self, one: Supervised, fault: Fault) -> None:
        until_s = self._now_s() + fault.lasts_s
        while one.waits_for_planted and self._now_s() < until_s:
            self._tend()
            self._pause(POLL_S)

    def _second(self) -> None:
        """Start another server on the same folder: it must refuse, and change nothing."""
        while (up := self._server.is_up()) is False:
            self._pause(POLL_S)
        if not up:
            return
        before = self._epoch()
        once = ["--once"] * (self._random.random() < 0.5)
        second = Copy(
            ["--project", str(self._project), "run", *once], self._folder / "second.log", self._folder / "tools.board"
        )
        until_s = self._now_s() + END_S
        while (status := second.status()) is None and self._server.is_up() and self._now_s() < until_s:
            self._pause(POLL_S)
        second.send(signal.SIGKILL)
        second.wait(END_S)
        if self._server.is_up() is None:
            return  # the first one died meanwhile, and the second was right to run
        said = tail(self._folder / "second.log")
        if status != 1 or "runs this project already" not in said:
            raise Wrong(f"a second server on one folder ended with {status}: {said}")
        if self._epoch() != before:
            raise Wrong("a second server was refused, and has become the writer all the same")

    def _look_at_books(self) -> None:
        """The books balance at any moment."""
        if not self._full_until_s and (self._project / "state.db").exists():
            self._must("ledger")

    def _finish(self) -> None:
        """The last stop, a run over what is left, and the books as the command line sees them."""
        self._tend()
        if self._plan.shipped:
            self._await_agent()
            self._agent.terminate()
        if self._plan.gentle_end:
            self._server.terminate()
        else:
            self._server.kill()
        for _ in range(2 if self._plan.seed % 4 == 0 else 1):
            self._must("run", "--once")
            self._must("ledger")

    def _await_agent(self) -> None:
        """Wait until the server has all bytes that the agent has to ship."""
        written = self._far.bytes
        until_s = self._now_s() + END_S
        while (taken := self._taken("far")) < written:
            self._tend()
            self._pause(4 * POLL_S)
            if self._now_s() > until_s:
                raise Wrong(f"of {written} bytes the agent has shipped {taken} in {END_S:.0f} s: {self._agent.tail()}")

    def _must(self, *arguments: str) -> None:
        """Run a command to its end, which has to be a good one."""
        log, board = self._folder / "tools.log", self._folder / "tools.board"
        process = Copy(["--project", str(self._project), *arguments], log, board)
        status = process.wait(END_S)
        self._note(f"mulgil {' '.join(arguments)}: exit status {status}")
        if status != 0:
            process.send(signal.SIGKILL)
            raise Wrong(f"mulgil {' '.join(arguments)} ended with {status}: {tail(log)}")

    # -- the verdict --------------------------------------------------------------------------------------------------

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
                verify.check_lines(lake, "bronze.far", self._far),
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
        for log in (self._server.log, self._agent.log, self._folder / "tools.log"):
            for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
                if re.search(r'"event": "(flow_stopped|care_failed)"|^Traceback|panicked', line):
                    outcome.problems.append(f"in {log.name}: {line[:2000]}")

    def _keep(self) -> None:
        """Leave everything behind, with an account of what happened."""
        self.outcome.folder = self._folder
        for one in self._processes:
            one.send(signal.SIGKILL)
        if self._disk is not None:
            shutil.copytree(self._project, self._folder / "project.copy", ignore=shutil.ignore_patterns("ballast"))
        account = {
            "seed": self._plan.seed,
            "plan": str(self._plan),
            "problems": self.outcome.problems,
            "events": self.outcome.events,
        }
        (self._folder / "account.json").write_text(json.dumps(account, indent=2))

    # -- what lies around it ------------------------------------------------------------------------------------------

    def _floors(self) -> dict[int, int]:
        """Per shard of the stream, the sequence number below which everything was acknowledged or delivered."""
        floors: dict[int, int] = {}
        for client in self._clients:
            for shard, end in client.ends.items():
                floors[shard] = max(end, floors.get(shard, 0))
        for part, position in self._positions("web").items():
            shard = int(part.removeprefix("shard-"))
            floors[shard] = max(position.place, floors.get(shard, 0))
        return floors

    def _taken(self, source: str) -> int:
        """Bytes of files that are in the lake."""
        return sum(one.place for one in self._positions(source).values() if one.unit == "byte")

    def _positions(self, source: str) -> dict[str, delivery.positions.Part]:
        database = state.Database(self._project / "state.db")
        try:
            delivery.declare(database)
            return delivery.positions.load(database, source)
        finally:
            database.close()

    def _epoch(self) -> int:
        database = state.Database(self._project / "state.db")
        try:
            with database.read() as read:
                return int(read.execute("SELECT epoch FROM writer_epoch")[0][0])
        finally:
            database.close()

    def _free_disk(self) -> None:
        if self._disk is not None:
            self._disk.free()
            self._server.hard_times(False)
        self._full_until_s = 0.0

    def _stop_traffic(self) -> None:
        self._gate.open()
        threads: list[Client | LogWriter] = [*self._clients, *self._writers]
        for one in threads:
            one.stop()
        for one in threads:
            if one.ident is not None:
                one.join()

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
