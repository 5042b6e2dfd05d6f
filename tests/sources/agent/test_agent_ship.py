"""The agent against a server that fails: nothing lost, nothing doubled, also when it is killed."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from server import Server

from mulgil.clock import SystemClock
from mulgil.errors import Broken, Conflict, Invalid
from mulgil.schema import Format
from mulgil.sources.agent import AgentFlow, AgentSettings, FlowProgress, run_agent
from mulgil.sources.files import FilesSettings

RUN_ONE = Path(__file__).with_name("run_one.py")


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


def settings(server: Server, folder: Path, *flows: AgentFlow, **more: object) -> AgentSettings:
    values = {"poll_interval_s": 0.005, "retry_s_max": 0.05, "batch_bytes": 5000, "timeout_s": 2, **more}
    return AgentSettings(server.url, flows, str(folder / "agent.db"), **values)  # type: ignore[arg-type]


def flow(folder: Path, glob: str = "*.log*", source: str = "web", **more: object) -> AgentFlow:
    form = more.pop("format", None)
    files = FilesSettings(source, (str(folder / glob),), scan_interval_s=0.01, settle_s=0.05, **more)  # type: ignore[arg-type]
    return AgentFlow(source, files, form)  # type: ignore[arg-type]


def run(
    what: AgentSettings,
    until: Callable[[], bool],
    between: Callable[[tuple[FlowProgress, ...]], None] = lambda flows: None,
    rounds: int = 4000,
) -> tuple[FlowProgress, ...]:
    stop = threading.Event()
    seen: list[tuple[FlowProgress, ...]] = []

    def progress(flows: tuple[FlowProgress, ...]) -> None:
        seen.append(flows)
        between(flows)
        if until() or len(seen) > rounds:
            stop.set()

    run_agent(what, SystemClock(), stop, progress)
    assert len(seen) <= rounds, f"it never came to an end: {seen[-1]}"
    return seen[-1]


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %07d %s\n" % (number, b"z" * (number % 50)) for number in range(first, first + count))


def test_ships_every_line_once(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.log").write_bytes(numbered(0, 1000))
    (tmp_path / "b.log").write_bytes(numbered(1000, 1000) + b"half")
    last = run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 2000)
    assert sorted(server.lines["web"]) == numbered(0, 2000).splitlines()
    assert last[0].sent_bytes == len(numbered(0, 2000))
    assert last[0].waiting_bytes == 4
    assert last[0].error == ""
    sent = server.requests[0]
    assert sent["mulgil-path"] == str(tmp_path / "a.log")
    assert sent["content-encoding"] == "zstd"
    assert "mulgil-format" not in sent


def test_a_generation_is_on_the_disk_before_its_first_byte_is_sent(tmp_path: Path, server: Server) -> None:
    known: list[bool] = []

    def look(generation: str) -> None:
        with closing(sqlite3.connect(tmp_path / "agent.db")) as database:
            found = database.execute("SELECT place, acknowledged FROM checkpoint WHERE part = ?", (generation,))
            known.append(found.fetchall() == [(0, 0)])

    server.before_taking = look
    for name in "abc":
        (tmp_path / f"{name}.log").write_bytes(numbered(0, 3))
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) == 9)
    assert known == [True] * 3


def test_a_restart_goes_on_where_it_was(tmp_path: Path, server: Server) -> None:
    log = tmp_path / "a.log"
    for number in range(4):
        with log.open("ab") as file:
            file.write(numbered(100 * number, 100))
        run(settings(server, tmp_path, flow(tmp_path)), lambda n=number: len(server.lines["web"]) >= 100 * (n + 1))
        if number == 1:
            log.rename(tmp_path / "a.log.1")
    run(settings(server, tmp_path, flow(tmp_path)), lambda: False or len(server.requests) > 0, rounds=50)
    assert sorted(server.lines["web"]) == numbered(0, 400).splitlines()
    assert len(server.offsets) == 2


def test_the_servers_word_counts_when_the_agents_positions_are_old(tmp_path: Path, server: Server) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(0, 100))
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 100)
    old = (tmp_path / "agent.db").read_bytes()
    log.write_bytes(numbered(0, 1000))
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 1000)
    (tmp_path / "agent.db").write_bytes(old)
    log.write_bytes(numbered(0, 1001))
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 1001)
    assert server.lines["web"] == numbered(0, 1001).splitlines()


@pytest.mark.parametrize("running", [True, False])
def test_a_server_that_has_less_gets_it_again(tmp_path: Path, server: Server, running: bool) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(0, 300))
    what = settings(server, tmp_path, flow(tmp_path))

    def fall_back(_: object = None) -> None:
        if len(server.lines["web"]) == 300 and len(log.read_bytes()) == len(numbered(0, 300)):
            first = server.lines["web"][:50]
            with server.lock:
                server.offsets = {key: sum(len(line) + 1 for line in first) for key in server.offsets}
                server.lines["web"] = first
                with log.open("ab") as file:
                    file.write(numbered(300, 10))

    if running:
        run(what, lambda: len(server.lines["web"]) == 310, fall_back)
    else:
        run(what, lambda: len(server.lines["web"]) == 300)
        fall_back()
        run(what, lambda: len(server.lines["web"]) == 310)
    assert server.lines["web"] == numbered(0, 310).splitlines()


@pytest.mark.parametrize("seed", range(6))
def test_failures_of_every_kind(tmp_path: Path, seed: int) -> None:
    server = Server(seed, faults=0.4)
    chance = random.Random(seed)
    log = tmp_path / "a.log"
    written = 0

    def go_on(_: object) -> None:
        nonlocal written
        if written < 2000 and chance.random() < 0.5:
            with log.open("ab") as file:
                file.write(numbered(written, 100))
            written += 100
            if chance.random() < 0.3:
                log.rename(tmp_path / f"a.log.{written}")
        if chance.random() < 0.02:
            server.restart()

    try:
        run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 2000, go_on)
        server.faults = 0
        run(settings(server, tmp_path, flow(tmp_path)), lambda: False or bool(server.lines), rounds=30)
    finally:
        server.stop()
    assert sorted(server.lines["web"]) == numbered(0, 2000).splitlines()


def test_what_a_truncation_took_is_told_to_the_server(tmp_path: Path, server: Server) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\n" + bytes(100) + b"two\n" + numbered(0, 10) + b"unended")
    done = threading.Event()

    def cut(_: object) -> None:
        if len(server.lines["web"]) == 12 and not done.is_set():
            done.set()
            log.write_bytes(b"new\n")

    run(settings(server, tmp_path, flow(tmp_path)), lambda: server.unreadable >= 107, cut)
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) >= 13)
    assert sorted(server.lines["web"]) == sorted([b"one", b"two", b"new", *numbered(0, 10).splitlines()])
    assert server.unreadable == 107


def test_formats_headers_and_multi_line_records(tmp_path: Path, server: Server) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,name\n1,x\n")
    (tmp_path / "m é.txt").write_bytes(b"".join(b"START %d\n more\n" % number for number in range(9000)) + b"START e\n")
    what = settings(
        server,
        tmp_path,
        flow(tmp_path, "*.csv", "table", format=Format("csv")),
        flow(tmp_path, "*.txt", "trace", format=Format("raw"), multiline="START", partial_after_s=0.05),
        batch_bytes=1 << 20,
    )
    what = AgentSettings(
        what.server,
        (
            AgentFlow("table", FilesSettings("table", what.flows[0].files.paths, format=Format("csv")), Format("csv")),
            what.flows[1],
        ),
        what.state,
        batch_bytes=1 << 20,
        poll_interval_s=0.005,
    )
    run(what, lambda: len(server.lines["trace"]) >= 9001 and len(server.lines["table"]) >= 1)
    assert server.lines["table"] == [b"1,x"]
    assert server.lines["trace"] == [b"START %d\n more" % number for number in range(9000)] + [b"START e"]
    by_path = {one["mulgil-path"].rsplit("/", 1)[1]: one for one in server.requests}
    assert by_path["t.csv"]["mulgil-format"] == '{"kind": "csv", "fields": ["id", "name"]}'
    assert by_path["m %C3%A9.txt"]["mulgil-format"] == '{"kind": "raw"}'
    assert max(len(one.get("mulgil-starts", "")) for one in server.requests) < 30_000


def test_one_flow_that_is_refused_does_not_hold_up_the_others(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.log").write_bytes(numbered(0, 10))
    server.refuse = (503, {"Retry-After": "1"})
    seen: list[str] = []

    def relent(flows: tuple[FlowProgress, ...]) -> None:
        seen.append(flows[0].error)
        if any(seen):
            server.refuse = None

    run(settings(server, tmp_path, flow(tmp_path), key="secret"), lambda: len(server.lines["web"]) == 10, relent)
    assert any("503" in one for one in seen)
    assert server.requests[0]["authorization"] == "Bearer secret"
    server.refuse = (401, {})
    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"x\n")
    last = run(settings(server, tmp_path, flow(tmp_path)), lambda: len(seen) > 0, rounds=100)
    assert "MULGIL_KEY" in last[0].error
    server.refuse = None
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) == 11)


def test_two_agents_do_not_share_positions(tmp_path: Path, server: Server) -> None:
    (tmp_path / "a.log").write_bytes(b"x\n")

    def second(_: object) -> None:
        with pytest.raises(Conflict, match="another agent"):
            run(settings(server, tmp_path, flow(tmp_path)), lambda: True)

    run(settings(server, tmp_path, flow(tmp_path)), lambda: True, second)
    run(settings(server, tmp_path, flow(tmp_path)), lambda: len(server.lines["web"]) == 1)


def test_positions_in_a_folder_that_cannot_be_made_are_told_in_plain_words(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").write_text("")
    wrong = replace(settings(server, tmp_path, flow(tmp_path)), state=str(tmp_path / "file" / "agent.db"))
    with pytest.raises(Broken, match="positions cannot be used"):
        run(wrong, lambda: True)


def test_positions_that_cannot_be_kept_stop_the_agent(tmp_path: Path, server: Server) -> None:
    (tmp_path / "agent.db").write_bytes(b"this is no database, but it is long enough to be looked at " * 20)
    with pytest.raises(Broken, match="positions cannot be used"):
        run(settings(server, tmp_path, flow(tmp_path)), lambda: True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"server": "logs.example:80"}, "is not a server's URL"),
        ({"flows": ()}, "nothing to ship"),
        ({"batch_bytes": 0}, "must be positive"),
        ({"twice": True}, "two flows are called"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object], says: str) -> None:
    one = AgentFlow("web", FilesSettings("web", ("/a",)))
    flows = (one, one) if wrong.pop("twice", False) else (one,)
    with pytest.raises(Invalid, match=says):
        AgentSettings(**{"server": "http://x", "flows": flows, "state": "s", **wrong})  # type: ignore[arg-type]


def kill(folder: Path, seed: int) -> None:
    """A process that is killed again and again while its log rotates."""
    chance = random.Random(seed)
    server = Server(seed, faults=0.1)
    log = folder / "a.log"
    clock, pause = SystemClock(), threading.Event()
    written = 0
    agent: subprocess.Popen[bytes] | None = None
    try:
        while written < 3000 or len(server.lines["web"]) < written:
            if agent is None:
                agent = subprocess.Popen(
                    [sys.executable, str(RUN_ONE), server.url, str(folder / "agent.db"), str(folder / "a.log*")],
                    stdout=subprocess.PIPE,
                )
                assert agent.stdout is not None
                assert agent.stdout.readline() == b"ready\n"
                deadline_s = clock.monotonic_s() + chance.random() * 0.15
                rounds = 0
            if written < 3000:
                with log.open("ab") as file:
                    file.write(numbered(written, 200))
                written += 200
                if chance.random() < 0.3:
                    log.rename(folder / f"a.log.{written}")
            clock.wait(pause, 0.01)
            rounds += 1
            assert rounds < 3000, f"seed {seed}: {len(server.lines['web'])} of {written} arrived"
            if written < 3000 and clock.monotonic_s() > deadline_s:
                agent.kill()
                agent.communicate()
                agent = None
        clock.wait(pause, 0.1)
    finally:
        if agent is not None:
            agent.kill()
            agent.communicate()
        server.stop()
    assert sorted(server.lines["web"]) == numbered(0, 3000).splitlines(), f"seed {seed}"


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    kill(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_killed_at_any_moment_many(tmp_path: Path, seed: int) -> None:
    kill(tmp_path, seed)


@pytest.mark.slow
def test_memory_with_a_thousand_files(tmp_path: Path) -> None:
    server = Server()
    for number in range(1000):
        (tmp_path / f"{number}.log").write_bytes(numbered(0, 500))
    with subprocess.Popen(
        [sys.executable, str(RUN_ONE), server.url, str(tmp_path / "agent.db"), str(tmp_path / "*.log")],
        stdout=subprocess.PIPE,
    ) as agent:
        try:
            clock, pause = SystemClock(), threading.Event()
            while len(server.lines["web"]) < 500_000:
                assert agent.poll() is None
                clock.wait(pause, 0.1)
            status = Path(f"/proc/{agent.pid}/status").read_text()
        finally:
            agent.kill()
            server.stop()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    print(f"peak {peak_kb / 1024:.0f} MB, {os.cpu_count()} cores")
    assert peak_kb < 100 * 1024
