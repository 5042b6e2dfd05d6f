"""A real access log of 10,000 lines, once compressed, once as it grows and rotates, under a server that is killed."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random
from threading import Event

import pytest

from mulgil import catalog
from mulgil.app.books import balance
from mulgil.app.chaos.plan import SERVER_STEPS
from mulgil.app.chaos.process import warm, warm_up
from mulgil.app.chaos.steps import Planted
from mulgil.app.chaos.supervised import Supervised
from mulgil.app.chaos.verify import read_both
from mulgil.app.settings import load_project
from mulgil.app.wiring import open_lake
from mulgil.clock import SystemClock

LOG = Path(__file__).parents[3] / "shared" / "data" / "apache_combined.log.gz"
LINES = 10_000
KILLS = 12

PROJECT = """\
delivery: {visible_ms: 50, file_mb: 1, snapshots: 3}
sources:
  packed: {type: files, path: packed/*, format: combined, table: bronze.packed}
  growing: {type: files, path: growing/access.log*, format: combined, table: bronze.growing}
"""


@pytest.mark.slow
@pytest.mark.skipif(not LOG.exists(), reason="the sample data are not beside the repository")
@pytest.mark.parametrize("seed", range(6))
def test_ten_thousand_lines_in_ten_thousand_records_out_whatever_is_killed(tmp_path: Path, seed: int) -> None:
    lines = gzip.decompress(LOG.read_bytes()).splitlines(keepends=True)
    assert len(lines) == LINES
    project = tmp_path / "project"
    (project / "growing").mkdir(parents=True)
    (project / "packed").mkdir()
    (project / "packed" / "access.log.gz").write_bytes(LOG.read_bytes())
    (project / "mulgil.yaml").write_text(PROJECT)
    events: list[str] = []
    warm_up()
    warm()
    random, clock = Random(seed), SystemClock()
    server = Supervised("server", ["--project", str(project), "run"], tmp_path, events.append)
    for turn in range(KILLS):
        grow(project / "growing" / "access.log", lines[turn * LINES // KILLS : (turn + 1) * LINES // KILLS], turn)
        planted = Planted(random.choice(SERVER_STEPS), random.randint(1, 20), random.random() < 0.5)
        server.start(planted=planted if random.random() < 0.7 else None)
        for _ in range(random.randint(10, 80)):
            server.tend()
            clock.wait(Event(), 0.005)
        server.kill()
    server.close()
    once = Supervised("once", ["--project", str(project), "run", "--once"], tmp_path, events.append)
    once.start()
    assert once.wait() == 0, once.tail()
    once.close()
    lake = open_lake(load_project(project))
    try:
        for name in ("bronze.packed", "bronze.growing"):
            rows, problems = read_both(lake, name)
            kept, more = read_both(lake, catalog.quarantine_of(name))
            assert problems + more == [], events
            assert rows.num_rows + kept.num_rows == LINES, events
        assert balance(lake) == []
    finally:
        lake.close()


def grow(log: Path, lines: list[bytes], turn: int) -> None:
    """Half of the lines, then now and then a rotation, then the other half."""
    with log.open("ab") as file:
        file.write(b"".join(lines[: len(lines) // 2]))
    if turn % 3 == 1:
        log.rename(log.with_name(f"access.log.{turn}"))
    with log.open("ab") as file:
        file.write(b"".join(lines[len(lines) // 2 :]))
