"""The measurements of `mulgil bench`: how much this machine acknowledges, delivers and answers."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulgil.app.bench import log_files
from mulgil.app.bench.server import Server
from mulgil.app.project import Project

CONNECTIONS = 16
WEB = "  web: {type: http, table: bronze.web}\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement."""

    what: str
    value: float
    unit: str


def load(port: int, kind: str, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Run the load generator against a server; what it found (`http_load`)."""
    line = [sys.executable, "-m", "mulgil.app.bench.http_load", f"127.0.0.1:{port}", kind, str(seconds)]
    line += [str(CONNECTIONS), *([str(rate)] if rate else [])]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_for_delivery(server: Server) -> None:
    """Return when everything that is acknowledged is in the lake."""
    while server.health()["sources"]["web"]["waiting_records"]:
        time.sleep(0.05)


def http(folder: Path | None, seconds: float) -> Iterator[Figure]:
    """Events over HTTP: acknowledged and delivered, at full load and at half of it; then questions."""
    server = Server(WEB, folder)
    try:
        idle = server.cost()
        yield Figure("memory of an idle server", idle.resident_mb, "MB")
        began = time.perf_counter()
        full = load(server.port, "mulgil", seconds)
        yield Figure("events acknowledged over HTTP, fsync before each answer", full["events_per_s"], "a second")
        wait_for_delivery(server)
        took, used = time.perf_counter() - began, server.cost()
        yield Figure("the same, committed to Iceberg", full["events"] / took, "a second")
        yield Figure("events per CPU second of the server", full["events"] / (used.cpu_s - idle.cpu_s), "")
        half = load(server.port, "mulgil", seconds, full["events_per_s"] / 2)
        yield Figure("latency at half that load, median", half["p50_ms"], "ms")
        yield Figure("latency at half that load, 99th percentile", half["p99_ms"], "ms")
        wait_for_delivery(server)
        yield Figure("memory at most", server.cost().peak_mb, "MB")
        with Project(server.folder) as project:
            project.sql("SELECT 1").arrow()
            began = time.perf_counter()
            project.sql("SELECT event, count(*), avg(price) FROM bronze.web GROUP BY event").arrow()
            yield Figure("a question over all these events", (time.perf_counter() - began) * 1e3, "ms")
    finally:
        server.close()


def files(folder: Path | None, megabytes: int) -> Iterator[Figure]:
    """Log files to committed Iceberg, per CPU second, start and imports included."""
    kinds: tuple[tuple[str, Callable[[Path, int], None]], ...] = (
        ("combined", log_files.combined),
        ("json", log_files.events),
    )
    work = Path(tempfile.mkdtemp(prefix="mulgil-bench-", dir=folder))
    try:
        for kind, make in kinds:
            path = work / f"{kind}.log"
            make(path, megabytes)
            cpu_s, _ = run_once(work / kind, path, kind)
            yield Figure(f"{kind} log file to Iceberg", path.stat().st_size / 1e6 / cpu_s, "MB per CPU second")
    finally:
        shutil.rmtree(work)


def run_once(project: Path, path: Path, kind: str) -> tuple[float, float]:
    """CPU and wall seconds of `mulgil run --once` on one file, whose books must balance."""
    project.mkdir()
    source = f"  log: {{type: files, path: {path}, format: {kind}, table: bronze.log}}\n"
    (project / "mulgil.yaml").write_text(f"sources:\n{source}")
    found = cost([sys.executable, "-m", "mulgil", "run", "--once", "--project", str(project)])
    cost([sys.executable, "-m", "mulgil", "ledger", "--project", str(project)])
    shutil.rmtree(project)
    return found


def cost(line: list[str], **more: Any) -> tuple[float, float]:
    """CPU and wall seconds of a command; its failure ends the program with what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f"{line[:3]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - began
