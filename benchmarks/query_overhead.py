"""What SQL through the lake costs beside bare DuckDB on the same Parquet files.

    python benchmarks/query_overhead.py [--events 5000000] [--days 30] [--rounds 7]

Makes a table of booking-site events in day partitions (fixed seed), then asks six typical questions, by turns of both:
`mulgil.query.Engine` (parse, pointer, plan, views, DuckDB, Arrow) and DuckDB that has the list of files already.
Both answers are compared. Prints the best wall and CPU times of the rounds and their ratios, and what a question costs
that reads nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from mulgil import catalog, state, storage, table
from mulgil.query import Engine, QuerySettings

TABLE = "bronze.web"
FIRST_US = 1_764_547_200_000_000  # 2025-12-01
DAY_US = 86_400_000_000
QUESTIONS = {
    "trivial": "SELECT 1 AS one",
    "count": "SELECT count(*) AS n FROM bronze.web",
    "status of a day": """
        SELECT status, count(*) AS n FROM bronze.web
        WHERE event_time >= TIMESTAMPTZ '2025-12-10' AND event_time < TIMESTAMPTZ '2025-12-11' GROUP BY 1 ORDER BY 1""",
    "top pages of a week": """
        SELECT page, count(*) AS n FROM bronze.web WHERE country = 'KR' AND event_time >= TIMESTAMPTZ '2025-12-10'
        AND event_time < TIMESTAMPTZ '2025-12-17' GROUP BY 1 ORDER BY n DESC, page LIMIT 20""",
    "visitors a day": """
        SELECT date_trunc('day', event_time) AS day, count(DISTINCT user_id) AS users FROM bronze.web
        GROUP BY 1 ORDER BY 1""",
    "ten minutes, all columns": """
        SELECT * FROM bronze.web WHERE event_time >= TIMESTAMPTZ '2025-12-10 09:00'
        AND event_time < TIMESTAMPTZ '2025-12-10 09:10' ORDER BY event_time, user_id LIMIT 100""",
    "country and status": """
        SELECT country, status, count(*) AS n, round(avg(price), 3) AS price FROM bronze.web
        GROUP BY 1, 2 ORDER BY 1, 2""",
    "sessions of a day": """
        SELECT count(*) AS sessions FROM (
          SELECT event_time - lag(event_time) OVER (PARTITION BY user_id ORDER BY event_time) AS gap FROM bronze.web
          WHERE event_time >= TIMESTAMPTZ '2025-12-10' AND event_time < TIMESTAMPTZ '2025-12-11')
        WHERE gap IS NULL OR gap > INTERVAL 30 MINUTE""",
}


def fill(folder: Path, events: int, days: int) -> catalog.Catalog:
    """The table, a commit a day."""
    chance = np.random.default_rng(7)
    store = storage.LocalStore()
    database = state.Database(folder / "state.db")
    tables = catalog.Catalog(database, store, str(folder / "lake"))
    tables.declare()
    settings = table.TableSettings()
    pages = np.array([f"/clinics/{number}" for number in range(5000)])
    countries = np.array(["KR", "JP", "US", "DE", "FR", "VN", "TH", "GB"])
    count = events // days
    for day in range(days):
        at = np.sort(chance.integers(0, DAY_US, count)) + FIRST_US + day * DAY_US
        rows = pa.table(
            {
                "event_time": pa.array(at, pa.timestamp("us", "UTC")),
                "user_id": chance.integers(0, 200_000, count),
                "page": pages[chance.zipf(1.3, count) % 5000],
                "country": countries[chance.integers(0, 8, count)],
                "status": chance.choice(np.array([200, 200, 200, 200, 304, 404, 500], np.int32), count),
                "price": chance.integers(0, 100_000, count) / 100,
            }
        )
        at_us = FIRST_US + day * DAY_US
        place = tables.location(TABLE)
        found = tables.find(TABLE) or table.new(TABLE, place, rows.schema, partition=("day(event_time)",))
        files = table.write_files(store, found, rows, settings, at_us)
        staged = table.stage_append(store, found, files, settings=settings, now_us=at_us)
        with database.transaction() as transaction:
            tables.swap(transaction, staged, at_us)
        tables.adopt([staged])
    return tables


def bare(tables: catalog.Catalog) -> Callable[[str], pa.Table]:
    """DuckDB with a view over the same files, made once."""
    connection = duckdb.connect(config={"threads": 2})
    files = [file.path for file in tables.load(TABLE).files()]
    for statement in ("SET TimeZone = 'UTC'", "SET parquet_metadata_cache = true", "CREATE SCHEMA bronze"):
        connection.execute(statement).fetchall()
    connection.execute(f"CREATE VIEW {TABLE} AS FROM read_parquet({files!r}, hive_partitioning = false)").fetchall()
    return lambda sql: connection.sql(sql).to_arrow_table()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = fill(Path(folder), given.events, given.days)
        engine = Engine(tables, settings=QuerySettings(threads=2))
        peers = {"mulgil": lambda sql: engine.run(sql).arrow(), "duckdb": bare(tables)}
        print(f"{given.events:,} events, {given.days} days, duckdb {duckdb.__version__}, best of {given.rounds}, ms")
        print(f"{'question':26} {'wall':>8} {'bare':>8} {'ratio':>6}   {'cpu':>8} {'bare':>8} {'ratio':>6}")
        sums = np.zeros(4)
        for name, sql in QUESTIONS.items():
            best = {peer: [float("inf"), float("inf")] for peer in peers}
            answers = {}
            for _ in range(given.rounds):
                for peer, ask in peers.items():
                    wall, cpu = time.perf_counter(), time.process_time()
                    answers[peer] = ask(sql).to_pylist()
                    spent = time.perf_counter() - wall, time.process_time() - cpu
                    best[peer] = [min(old, new) for old, new in zip(best[peer], spent, strict=True)]
            assert answers["mulgil"] == answers["duckdb"], name
            figures = np.array([*best["mulgil"], *best["duckdb"]]) * 1000
            if name not in ("trivial", "count"):
                sums += figures
            show(name, figures)
        show("the six together", sums)


def show(name: str, figures: np.ndarray) -> None:
    """One line."""
    wall, cpu, bare_wall, bare_cpu = figures
    print(
        f"{name:26} {wall:8.1f} {bare_wall:8.1f} {wall / bare_wall:6.2f}"
        f"   {cpu:8.1f} {bare_cpu:8.1f} {cpu / bare_cpu:6.2f}"
    )


if __name__ == "__main__":
    main()
