"""How a project fares, seen from outside: from its running server, or, without one, from what it left behind."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mulgil.app.project_lock import is_locked
from mulgil.app.settings import ProjectSettings
from mulgil.app.wiring import open_lake
from mulgil.delivery import ledger

TIMEOUT_S = 3.0

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("table", pa.string()),
        ("state", pa.string()),
        ("rows", pa.int64()),
        ("quarantined", pa.int64()),
        ("waiting_records", pa.int64()),
        ("waiting_bytes", pa.int64()),
        ("lag_s", pa.float64()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Status:
    """What was found."""

    running: bool
    ok: bool
    headline: str
    sources: list[dict[str, Any]]

    def troubles(self) -> list[str]:
        """A line for each source that has one, whole, as no table shows it."""
        return [
            f"{source['source']}: {source['error']}" + (f" ({source['hint']})" if source["hint"] else "")
            for source in self.sources
            if source["error"]
        ]


def read_status(project: ProjectSettings) -> Status:
    """Ask the running server; where there is none, say so and show what the state knows."""
    lake = open_lake(project)
    try:
        entries: dict[str, ledger.Entry] = {}
        for name, _, _, entry in ledger.read(lake.database):
            entries.setdefault(name, ledger.Entry()).add(entry)
    finally:
        lake.close()
    running = is_locked(project.state)
    health = _health(project) if running and project.has_door else None
    told = health["sources"] if health else {}
    rows = []
    for name, source in project.sources.items():
        now = told.get(name, {})
        booked = entries.get(name, ledger.Entry())
        rows.append(
            {
                "source": name,
                "table": source.table,
                "state": ("delivering" if now["up"] else "failed") if now else ("running" if running else "stopped"),
                "rows": booked.rows_out,
                "quarantined": booked.quarantined,
                "waiting_records": now.get("waiting_records"),
                "waiting_bytes": now.get("waiting_bytes"),
                "lag_s": round(now["lag_s"], 3) if "lag_s" in now else None,
                "hint": now.get("hint"),
                "error": now.get("error") or _unreadable(now.get("unreadable_files", [])),
            }
        )
    ok = health is None or health["status"] == "ok"
    return Status(running, ok, _headline(project, running, health), rows)


def status_table(status: Status) -> pa.Table:
    """One row a source."""
    return pa.Table.from_pylist(status.sources, schema=SCHEMA)


def _unreadable(files: list[str]) -> str | None:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0]}{more}" if files else None


def _headline(project: ProjectSettings, running: bool, health: dict[str, Any] | None) -> str:
    if not running:
        return "not running; `mulgil run` starts it"
    if not project.has_door:
        return "running; with `listen:` in mulgil.yaml it would say here how each source fares"
    if health is None:
        return f"running, but {project.listen} does not answer"
    failed = sorted(name for name, source in health["sources"].items() if not source["up"])
    return f"running, but failed: {', '.join(failed)}" if failed else f"running on {project.listen}"


def _health(project: ProjectSettings) -> dict[str, Any] | None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(project.listen.host, project.listen.host)
    connection: http.client.HTTPConnection
    if project.tls:
        # Our own server, named by our own project: its certificate is for its public name.
        unchecked = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, project.listen.port, timeout=TIMEOUT_S, context=unchecked)
    else:
        connection = http.client.HTTPConnection(host, project.listen.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found if "sources" in found else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
