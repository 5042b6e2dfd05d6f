"""The examples are right, and what their READMEs say comes true."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mulgil.sources.agent import read_kinesis

EXAMPLES = Path(__file__).parents[2] / "examples"
PROJECTS = sorted(path.parent.name for path in EXAMPLES.glob("*/mulgil.yaml"))


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example, without what a run in its folder left behind."""
    made = shutil.ignore_patterns("lake", "stream", "state.db*", "agent*.db*")
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / "project", ignore=made))


def mulgil(project: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mulgil", *arguments],
        cwd=project,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if done.stdout else done.stderr


def sums(project: Path) -> dict[str, int]:
    """The ledger's sums; asserts that the books balance."""
    (row,) = csv.DictReader(io.StringIO(mulgil(project, "ledger", "--format", "csv")))
    return {name: int(value) for name, value in row.items() if name not in ("source", "table_name")}


def test_every_example_is_a_project_with_a_readme_and_is_listed() -> None:
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
    assert folders == PROJECTS
    listed = (EXAMPLES / "README.md").read_text()
    assert all((EXAMPLES / name / "README.md").exists() and f"({name})" in listed for name in folders)


@pytest.mark.parametrize("project", PROJECTS, indirect=True)
def test_an_example_is_right(project: Path) -> None:
    assert (
        "mulgil.yaml is right"
        in subprocess.run(
            [sys.executable, "-m", "mulgil", "check"], cwd=project, capture_output=True, text=True, timeout=30
        ).stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("project", ["01-events"], indirect=True)
def test_events_sent_twice_are_five_rows(project: Path) -> None:
    for _ in range(2):
        assert "5 events acknowledged" in mulgil(project, "send", "web", "events.ndjson")
        mulgil(project, "run", "--once")
    booked = sums(project)
    assert (booked["records_in"], booked["rows_out"], booked["deduplicated"]) == (10, 5, 5)
    assert mulgil(project, "sql", "SELECT count(device.os) AS n FROM bronze.web", "--format", "csv").split() == [
        "n",
        "1",
    ]


@pytest.mark.parametrize("project", ["02-access-log"], indirect=True)
def test_an_access_log_is_read_once_through_its_rotation(project: Path) -> None:
    assert "5 rows into bronze.access, 1 to quarantine" in mulgil(project, "run", "--once")
    logs = project / "logs"
    subprocess.run(["gzip", logs / "access.log.1"], check=True)
    (logs / "access.log").rename(logs / "access.log.2")
    line = '203.0.113.7 - - [22/Nov/2026:00:01:00 +0900] "GET /clinics/17 HTTP/1.1" 200 900 "-" "Mozilla/5.0"\n'
    (logs / "access.log").write_text(line)
    assert "access: 1 row into bronze.access" in mulgil(project, "run", "--once")
    booked = sums(project)
    assert (booked["records_in"], booked["rows_out"], booked["quarantined"]) == (7, 6, 1)


@pytest.mark.parametrize("project", ["03-agent"], indirect=True)
def test_the_kinesis_agents_file_ships_to_the_declared_source(project: Path) -> None:
    found = read_kinesis(str(project / "agent.json"))
    (flow,) = found.flows
    assert flow.source == "edge"
    assert flow.format is not None
    assert flow.format.kind == "combined"
    assert set(found.ignored) == {"cloudwatch.emitMetrics", "kinesis.endpoint", "flows[0].partitionKeyOption"}


@pytest.mark.slow
@pytest.mark.parametrize("project", ["04-strict-schema-and-quarantine"], indirect=True)
def test_quarantined_orders_find_their_way_back(project: Path) -> None:
    mulgil(project, "send", "orders", "orders.ndjson")
    assert "2 rows into bronze.orders, 2 to quarantine" in mulgil(project, "run", "--once")
    with (project / "mulgil.yaml").open("a") as file:
        file.write("      coupon: string\n")
    assert "1 moved, 1 still do not fit" in mulgil(project, "quarantine", "redrive", "bronze.orders")
    booked = sums(project)
    assert (booked["records_in"], booked["rows_out"], booked["quarantined"]) == (4, 3, 1)
