"""Runs a line: a thread for each flow, one for the care of tables, one that watches, and the HTTP door.

This is where a failing component is caught, named, and kept from stopping the good ones beside it.
"""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulgil.app.lake import Lake
from mulgil.app.wiring import Line, build_door, collector_settings
from mulgil.delivery import Flow
from mulgil.errors import Conflict, Invalid, MulgilError, Overloaded, Retry
from mulgil.sources import collector
from mulgil.state import Fenced, KeyRing
from mulgil.telemetry import Log, Metrics

WATCH_S = 1.0
CARE_PAUSE_S = 1.0
TRIM_EVERY = 30
RETRY_S_MAX = 30.0
STOP_S_MAX = 20.0
"""So long a flow goes on delivering when it is to stop; what is left waits where it is, for the next start."""
QUIET_S = 2.0
"""So long must a last line without its end stay as it is, to be taken for whole."""
IDLE_STEPS = 3
"""A files source has nothing more once it says so this often: finding a rotated file again may take a look or two."""
GRACE_S = 600.0
"""How long files that no snapshot shows any more stay for queries that began before."""


@dataclass
class FlowState:
    """How one flow fares."""

    up: bool = True
    error: str = ""
    hint: str = ""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """Files that cannot be read at present: path, what is wrong, hint."""


class Service:
    """`mulgil run`: everything of one project in one process."""

    def __init__(self, lake: Lake, log: Log) -> None:
        """Raises `Conflict` when the project runs already, `Invalid` when its address needs keys and there are none."""
        self.metrics = Metrics()
        self.log = log
        self._lake = lake
        self._keyring = KeyRing(lake.database, lake.clock)
        self._settings = collector_settings(lake.project)
        if not collector.is_loopback(self._settings.host) and self._keyring.is_empty():
            raise Invalid(
                f"{self._settings.host} can be reached by others, and there is no API key yet",
                where="listen",
                hint="`mulgil key create --grant write:<source>` makes one; or listen on 127.0.0.1",
            )
        self.line = Line(lake, self.metrics, log)
        self.states = {name: FlowState() for name in self.line.flows}
        self._overloaded: dict[str, MulgilError] = {}
        self._wake = {name: threading.Event() for name in self.line.flows}
        self._stop = threading.Event()
        self.fenced = False
        self._threads = [
            threading.Thread(target=self._drive, args=(name, flow), name=f"flow-{name}", daemon=True)
            for name, flow in self.line.flows.items()
        ]
        self._threads.append(threading.Thread(target=self._care, name="care", daemon=True))
        self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        self._server: collector.Server | None = None
        if lake.project.has_door:
            try:
                door = build_door(
                    self.line,
                    self._keyring,
                    health=self.health,
                    appended=lambda source: self._wake[source].set(),
                    refuse=self._refusal,
                )
                self._server = collector.Server(door, self._settings)
            except BaseException:
                self.line.close()
                raise

    @property
    def url(self) -> str | None:
        """Where events can be posted; None without a door."""
        return self._server.url if self._server else None

    def start(self) -> None:
        """Run everything. Raises `Invalid` when the address cannot be listened on; then nothing runs."""
        if self._server:
            try:
                self._server.start()
            except BaseException:
                self.stop()
                raise
        for thread in self._threads:
            thread.start()
        self.log.info("started", url=self.url, sources=sorted(self.line.flows))

    def wait(self, stop: threading.Event) -> None:
        """Return when `stop` is set, or when another process has taken over."""
        while not stop.is_set() and not self._stop.is_set():
            self._lake.clock.wait(stop, 0.2)

    def stop(self) -> None:
        """Stop taking requests, deliver what is acknowledged, and close."""
        if self._server:
            self._server.stop()
        self._stop.set()
        for event in self._wake.values():
            event.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self.line.close()
        self.log.info("stopped")

    def health(self) -> dict[str, Any]:
        """What `/healthz` and `mulgil status` show."""
        flows = {}
        for name, flow in self.line.flows.items():
            lag, state = flow.source.lag(), self.states[name]
            flows[name] = {
                "up": state.up,
                "table": flow.target.table,
                "waiting_bytes": lag.waiting_bytes,
                "waiting_records": lag.waiting_records,
                "lag_s": self._lag_s(lag.oldest_us),
                "delivered_rows": int(self.metrics.value("mulgil_delivered_rows_total", name, flow.target.table)),
                **({"error": state.error, "hint": state.hint} if state.error else {}),
                **(
                    {"unreadable_files": [f"{path}: {what}" for path, what, _ in state.problems[:10]]}
                    if state.problems
                    else {}
                ),
            }
        ok = all(state.up for state in self.states.values())
        return {"status": "ok" if ok else "failing", "sources": flows}

    def _refusal(self, name: str) -> MulgilError | None:
        """Why a source takes nothing at present."""
        lost = self.line.flows[name].refused
        if lost is not None:  # its stream and its state do not belong together: what came now would never be delivered
            return Retry(f"{name} is stopped: {lost.what}", hint=lost.hint, after_s=60)
        return self._overloaded.get(name)

    def _drive(self, name: str, flow: Flow) -> None:
        """A flow's whole life."""
        state, wake, failures = self.states[name], self._wake[name], 0
        clock, stop_at_s = self._lake.clock, None
        while True:
            stopping = self._stop.is_set()
            if stopping and stop_at_s is None:
                stop_at_s = clock.monotonic_s() + STOP_S_MAX
            try:
                busy = flow.step(flush=stopping)
                failures, state.error, state.hint = 0, "", ""
                state.problems = note_problems(flow, state.problems, self.metrics, self.log)
            except Fenced as error:
                self._give_up(name, error)
                self.fenced = True
                self._stop.set()
                return
            except (Retry, Overloaded, Conflict) as error:
                failures += 1
                state.error, state.hint = str(error.what), error.hint
                self.log.warning("flow_waits", source=name, error=str(error), attempt=failures)
                if stopping:
                    return
                after_s = 1.0 if isinstance(error, Conflict) else error.after_s
                clock.wait(self._stop, min(RETRY_S_MAX, after_s * 2 ** min(failures, 10)))
                continue
            except MulgilError as error:
                self._give_up(name, error)
                return
            except Exception as error:  # noqa: BLE001 (supervision: a fault in one flow must not stop the others)
                self._give_up(name, error)
                return
            if stop_at_s is not None and (not busy or clock.monotonic_s() >= stop_at_s):
                return
            if not busy:
                wake.wait(flow.wait_s())
                wake.clear()

    def _give_up(self, name: str, error: Exception) -> None:
        state = self.states[name]
        state.up, state.error = False, str(error)
        state.hint = (
            error.hint if isinstance(error, MulgilError) else "this is a fault of mulgil; the log has its trace"
        )
        trace = None if isinstance(error, MulgilError) else "".join(traceback.format_exception(error))
        self.log.error("flow_stopped", source=name, error=str(error), **({"trace": trace} if trace else {}))

    def _care(self) -> None:
        """Compaction, one table after another, as long as there is anything to do."""
        care = self.line.care(GRACE_S)
        while not self._stop.is_set():
            did_something = False
            for name in self._tables():
                if self._stop.is_set():
                    return
                try:
                    report = care.step(name)
                except Fenced:
                    return
                except MulgilError as error:
                    self.log.warning("care_waits", table=name, error=str(error))
                    continue
                except Exception as error:  # noqa: BLE001 (supervision: compaction is never worth an outage)
                    trace = "".join(traceback.format_exception(error))
                    self.log.error("care_failed", table=name, error=str(error), trace=trace)
                    continue
                if report is not None and report.files_before:
                    did_something = True
                    self.metrics.count("mulgil_commits_total", 1, name, "replace")
            if not did_something:
                self._lake.clock.wait(self._stop, CARE_PAUSE_S)

    def _tables(self) -> list[str]:
        try:
            return self._lake.catalog.names()
        except MulgilError as error:
            self.log.warning("care_waits", error=str(error))
            return []

    def _watch(self) -> None:
        """Gauges, limits and retention, every second."""
        rounds = 0
        while not self._stop.is_set():
            try:
                self._look(trim=rounds % TRIM_EVERY == 0)
            except Exception as error:  # noqa: BLE001 (supervision: without its watch a line would fill the disk)
                trace = "".join(traceback.format_exception(error))
                self.log.error("watch_failed", error=str(error), trace=trace)
            rounds += 1
            self._lake.clock.wait(self._stop, WATCH_S)

    def _look(self, *, trim: bool) -> None:
        limits = self._lake.project.limits
        for name, flow in self.line.flows.items():
            lag = flow.source.lag()
            self.metrics.set("mulgil_waiting_bytes", lag.waiting_bytes, name)
            self.metrics.set("mulgil_lag_seconds", self._lag_s(lag.oldest_us), name)
            self.metrics.set("mulgil_source_up", int(self.states[name].up), name)
            if lag.waiting_bytes > limits.lag_mb * 2**20:
                waits = f"{lag.waiting_bytes // 2**20} MB of {name} wait for the lake"
                self._overloaded[name] = Overloaded(waits, hint="send again later", after_s=5)
            else:
                self._overloaded.pop(name, None)
        for name, one in self.line.streams.items():
            self.metrics.set("mulgil_stream_bytes", one.size_bytes(), name)
            if trim:
                one.trim(self._lake.clock.now_us())
        self.metrics.set("mulgil_disk_free_bytes", shutil.disk_usage(self._lake.project.folder).free)
        self.metrics.set("mulgil_resident_memory_bytes", resident_bytes())

    def _lag_s(self, oldest_us: int | None) -> float:
        return 0.0 if oldest_us is None else max(0.0, (self._lake.clock.now_us() - oldest_us) / 1e6)


def run_once(lake: Lake, log: Log, progress: Any = None) -> Metrics:
    """Take in what is there, commit it, and return; `progress(line)` is called after each step.

    Raises the first flow's error after all other flows are through.
    """
    metrics = Metrics()
    line = Line(lake, metrics, log)
    failed: MulgilError | None = None
    try:
        for flow in line.flows.values():
            try:
                _exhaust(flow, lambda: progress(line) if progress else None)
                flow.step(flush=True)
                if flow.source.lag().waiting_bytes:  # such as a last line that may still be in writing
                    lake.clock.wait(threading.Event(), QUIET_S)
                    _exhaust(flow, lambda: progress(line) if progress else None)
                flow.source.finish()
                _exhaust(flow, lambda: progress(line) if progress else None)
                flow.step(flush=True)
            except MulgilError as error:
                failed = failed or error
            note_problems(flow, [], metrics, log)
            if progress:
                progress(line)
        for stream in line.streams.values():
            stream.trim(lake.clock.now_us())
    finally:
        line.close()
    if failed is not None:
        raise failed
    return metrics


def _exhaust(flow: Flow, progress: Callable[[], object]) -> None:
    """Step until nothing new comes."""
    idle = 0
    while idle < IDLE_STEPS:
        idle = 0 if flow.step() else idle + 1
        progress()


def note_problems(
    flow: Flow, before: list[tuple[str, str, str]], metrics: Metrics, log: Log
) -> list[tuple[str, str, str]]:
    """Log files that cannot be read, and could before; tells which there are now."""
    now = flow.source.problems()
    for path, what, hint in now:
        if (path, what, hint) not in before:
            log.warning(
                "file_waits", source=flow.source.name, path=path, error=what, **({"hint": hint} if hint else {})
            )
    metrics.set("mulgil_unreadable_files", len(now), flow.source.name)
    return now


def resident_bytes() -> int:
    """Memory that this process holds (Linux; 0 elsewhere)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
