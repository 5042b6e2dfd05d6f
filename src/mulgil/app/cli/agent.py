"""`mulgil agent`: ships log files of this host to a server."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulgil.app.cli.command import Command

if TYPE_CHECKING:
    from mulgil.sources.agent import AgentFlow, AgentSettings, FlowProgress

REPORT_S = 10.0


def agent(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATTERN]…", help="Files, with * ? [] and **; quote them.")
    ] = None,
    server: Annotated[str, typer.Option("--server", envvar="MULGIL_SERVER", help="The server's URL.")] = "",
    source: Annotated[
        str, typer.Option("--source", help="The server's source (type: agent) that takes the files.")
    ] = "",
    format: Annotated[
        str, typer.Option("--format", help="What the records are written in; without it the server's source knows.")
    ] = "",
    multiline: Annotated[str, typer.Option("--multiline", help="Expression that a record's first line matches.")] = "",
    config: Annotated[
        Path | None, typer.Option("--config", help="A Kinesis Agent's agent.json, instead of --source and patterns.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Where positions are kept, on a disk that outlives a reboot.")
    ] = None,
    key: Annotated[str, typer.Option("--key", envvar="MULGIL_KEY", help="API key, best by the environment.")] = "",
    ca: Annotated[Path | None, typer.Option("--ca", help="PEM file of the authority behind the server's TLS.")] = None,
) -> None:
    """Ship log files of this host to a server, each byte once, through rotation and restarts, until Ctrl-C or SIGTERM.

    The server says how far each file was taken in, so the agent may be killed at any moment and started again. A
    Kinesis Agent's configuration works as it is: each stream's name is the name of a source.
    """
    from mulgil.app.unmatched import unmatched
    from mulgil.clock import SystemClock
    from mulgil.sources.agent import AgentSettings, run_agent

    flows = _from_config(config) if config is not None else _from_options(paths or [], source, format, multiline)
    settings = AgentSettings(
        server=_server(server),
        flows=flows,
        state=str(state or default_state()),
        key=key,
        tls_ca_file=str(ca or ""),
    )
    for flow in settings.flows:
        for pattern in flow.files.paths:
            for note in unmatched(pattern, flow.files.exclude):
                typer.secho(f"note: {note}", fg="yellow", err=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run_agent(settings, SystemClock(), stop, _Report(settings))


def _server(url: str) -> str:
    from mulgil.errors import Invalid

    if not url:
        raise Invalid("no server is named", where="--server", hint="such as --server https://lake.example.com:7410")
    return url


def _from_config(path: Path) -> tuple[AgentFlow, ...]:
    from mulgil.sources.agent import read_kinesis

    found = read_kinesis(str(path))
    for key in found.ignored:
        typer.secho(f"note: {key} has no meaning here and is ignored", fg="yellow", err=True)
    return found.flows


def _from_options(paths: list[str], source: str, format: str, multiline: str) -> tuple[AgentFlow, ...]:
    from mulgil.errors import Invalid
    from mulgil.schema import Format
    from mulgil.sources.agent import AgentFlow
    from mulgil.sources.files import FilesSettings

    if not paths or not source:
        what = "a source" if paths else "a file pattern"
        raise Invalid(
            f"{what} is missing", hint="mulgil agent --source access '/var/log/nginx/access.log*', or --config"
        )
    declared = Format.of({"kind": format}) if format else None
    files = FilesSettings(name=source, paths=tuple(paths), format=declared or Format("raw"), multiline=multiline)
    return (AgentFlow(source, files, declared),)


def default_state() -> Path:
    """The usual place for a service's state: the system's for root, else the user's."""
    import os

    home = Path("/var/lib") if os.geteuid() == 0 else Path.home() / ".local" / "state"
    return home / "mulgil" / "agent.db"


class _Report:
    """JSON lines on standard error: how it goes every ten seconds, and every new trouble at once."""

    def __init__(self, settings: AgentSettings) -> None:
        from mulgil.clock import SystemClock
        from mulgil.telemetry import Log

        self._clock = SystemClock()
        self._log = Log()
        self._next_s = 0.0
        self._told: set[object] = set()
        self._server = settings.server
        self._is_started = False

    def __call__(self, flows: tuple[FlowProgress, ...]) -> None:
        if not self._is_started:
            self._is_started = True
            self._log.info("started", server=self._server, flows=[flow.name for flow in flows])
        if (now_s := self._clock.monotonic_s()) >= self._next_s:
            self._next_s = now_s + REPORT_S
            self._told.clear()
            for flow in flows:
                self._log.info("shipped", flow=flow.name, bytes=flow.sent_bytes, waiting_bytes=flow.waiting_bytes)
        for flow in flows:
            if flow.error:
                self._tell(flow=flow.name, error=flow.error)
            for path, what, hint in flow.problems:
                self._tell(flow=flow.name, error=f"{path}: {what}" + (f" ({hint})" if hint else ""))

    def _tell(self, **trouble: str) -> None:
        if (told := tuple(trouble.values())) not in self._told:
            self._told.add(told)
            self._log.warning("agent_waits", **trouble)


COMMAND = Command(
    agent,
    panel="Run",
    examples=(
        (
            "mulgil agent --server https://lake.example.com:7410 --source access '/var/log/nginx/access.log*'",
            "one kind of files",
        ),
        ("mulgil agent --server http://10.0.0.5:7410 --config /etc/aws-kinesis/agent.json", "as a Kinesis Agent did"),
        ("MULGIL_KEY=… mulgil agent --server … --source app '/srv/app/*.log' --format json", "with a key"),
    ),
)
