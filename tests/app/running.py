"""What the tests of a running project share: a project on a free port, and its service in this process."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mulgil.app.books import balance
from mulgil.app.serve import Service
from mulgil.app.settings import ProjectSettings, load_project
from mulgil.app.wiring import open_lake
from mulgil.table import scan
from mulgil.telemetry import Log

PROJECT = """
listen: "{listen}"
limits: {{disk_free_mb: 0}}
delivery: {{visible_ms: 50}}
sources:
  web: {{type: http, table: bronze.web}}
  app: {{type: http, table: bronze.app}}
  logs: {{type: agent, table: bronze.logs, format: raw}}
"""


def project(folder: Path, text: str = PROJECT, *, host: str = "127.0.0.1", more: str = "") -> ProjectSettings:
    """A project in the folder, listening on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"{host}:{probe.getsockname()[1]}"
    (folder / "mulgil.yaml").write_text(text.format(listen=listen) + more)
    return load_project(folder, {})


class Running:
    """A service that runs, and what its users do."""

    def __init__(self, settings: ProjectSettings) -> None:
        self.settings = settings
        self.lines = io.StringIO()
        self.lake = open_lake(settings)
        try:
            self.service = Service(self.lake, Log(self.lines))
        except BaseException:
            self.lake.close()
            raise

    def __enter__(self) -> Running:
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        self.lake.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        listen = self.settings.listen
        connection = http.client.HTTPConnection("127.0.0.1", listen.port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            answer = response.read()
            return response.status, json.loads(answer) if answer.startswith((b"{", b"[")) else answer
        finally:
            connection.close()

    def post(self, *events: dict[str, Any], source: str = "web", **headers: str) -> None:
        status, answer = self.ask("POST", f"/v1/{source}", json.dumps(list(events)).encode(), **headers)
        assert (status, answer["accepted"]) == (202, len(events))

    def count(self, table: str) -> int:
        found = self.lake.catalog.find(table)
        return 0 if found is None else found.record_count


def numbers(settings: ProjectSettings, table: str, column: str = "n") -> list[Any]:
    """What lies in a table's column, sorted; the books must balance."""
    lake = open_lake(settings)
    try:
        assert balance(lake) == []
        found = lake.catalog.find(table)
        return [] if found is None else sorted(scan(lake.catalog.store, found, [column])[column].to_pylist())
    finally:
        lake.close()


def wait_for(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Until it is true."""
    until_s = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < until_s, "it does not come"
        pause.wait(0.01)
