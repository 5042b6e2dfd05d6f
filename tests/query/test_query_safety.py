"""SQL reads. It changes nothing, and where it is told to, it opens nothing but the tables it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from conftest import Lake
from mulgil.errors import Invalid, MulgilError
from mulgil.query import Engine, QuerySettings

ROWS = pa.table({"a": [1, 2]})


@pytest.fixture
def closed(lake: Lake) -> Iterator[Engine]:
    lake.append("bronze.t", ROWS)
    lake.append("bronze.other", ROWS)
    made = Engine(lake.catalog, settings=QuerySettings(external_access=False, threads=1))
    yield made
    made.close()


WRITES = [
    "CREATE TABLE x AS SELECT 1",
    "INSERT INTO bronze.t VALUES (1)",
    "UPDATE bronze.t SET a = 1",
    "DELETE FROM bronze.t",
    "DROP VIEW bronze.t",
    "COPY bronze.t TO '{out}'",
    "COPY (SELECT 1) TO '{out}'",
    "EXPLAIN COPY bronze.t TO '{out}'",
    "EXPLAIN ANALYZE COPY bronze.t TO '{out}'",
    "EXPLAIN (FORMAT json) COPY bronze.t TO '{out}'",
    "EXPORT DATABASE '{out}'",
    "ATTACH '{out}' AS x",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "RESET threads",
    "PRAGMA enable_profiling",
    "CALL force_checkpoint()",
    "BEGIN",
    "USE memory",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CHECKPOINT",
    "SELECT 1; DROP VIEW bronze.t",
]


@pytest.mark.parametrize("sql", WRITES)
def test_nothing_but_questions(lake: Lake, own: Engine, tmp_path: Path, sql: str) -> None:
    lake.append("bronze.t", ROWS)
    out = tmp_path / "out"
    with pytest.raises(Invalid, match="not a question"):
        list(own.run_all(sql.format(out=out)))
    assert not out.exists()


def test_a_writing_cte_writes_nothing(lake: Lake, own: Engine) -> None:
    lake.append("bronze.t", ROWS)
    with pytest.raises(MulgilError):
        own.run("WITH x AS (INSERT INTO bronze.t VALUES (3) RETURNING a) SELECT * FROM x")
    assert own.run("SELECT a FROM bronze.t").arrow().num_rows == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.csv", "s3://bucket/x.parquet"])
def test_nothing_is_fetched_and_no_extension_recommended(own: Engine, url: str) -> None:
    with pytest.raises(Invalid, match="nothing is fetched from the network") as failed:
        own.run(f"FROM '{url}'")
    assert "INSTALL" not in str(failed.value)


def test_files_beside_the_lake_on_ones_own_machine(own: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert own.run(f"SELECT a + b AS c FROM '{tmp_path}/x.csv'").arrow().to_pylist() == [{"c": 3}]
    assert own.run(f"SELECT count(*) FROM read_csv('{tmp_path}/x.csv')").arrow().column(0).to_pylist() == [1]
    with pytest.raises(MulgilError, match="No files found"):
        own.run(f"FROM '{tmp_path}/missing.csv'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '{csv}'",
        "SELECT * FROM read_csv('{csv}')",
        "SELECT * FROM read_text('{csv}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM parquet_metadata('{other}')",
        "SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM query('FROM read_text(''{csv}'')')",
        "SELECT * FROM bronze.t, (SELECT content FROM read_text('{csv}'))",
        "SELECT (SELECT content FROM read_text('{csv}')) FROM bronze.t",
        "SELECT * FROM bronze.t FOR VERSION AS OF (SELECT content FROM read_text('{csv}'))",
        "SELECT * FROM bronze.t FOR VERSION AS OF (SELECT a FROM '{csv}')",
        "DESCRIBE SELECT * FROM read_csv('{csv}')",
        "EXPLAIN ANALYZE SELECT * FROM read_csv('{csv}')",
        "PIVOT read_csv('{csv}') ON a USING count(*)",
        "SELECT * FROM arrow_scan(1::BIGINT::VARCHAR, 2, 3)",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM enable_logging()",
    ],
)
def test_no_other_file_where_it_is_closed(lake: Lake, closed: Engine, tmp_path: Path, sql: str) -> None:
    csv = tmp_path / "x.csv"
    csv.write_text("a,b\n1,2\n")
    other = lake.catalog.load("bronze.other").files()[0].path
    with pytest.raises(MulgilError):
        closed.run(sql.format(csv=csv, folder=tmp_path, other=other)).arrow()
    assert closed.run("SELECT count(*) FROM bronze.t").arrow().column(0).to_pylist() == [2]


def test_a_local_variable_is_not_a_table(own: Engine) -> None:
    mine = ROWS
    assert mine.num_rows == 2
    with pytest.raises(MulgilError, match="no table mine"):
        own.run("SELECT * FROM mine")
