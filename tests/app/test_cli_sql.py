"""`mulgil sql`, its shell, and `mulgil tables`, on a real project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from typer.testing import CliRunner

from mulgil import table
from mulgil.app.cli.frame import build
from mulgil.app.cli.shell import Shell, Words
from mulgil.app.cli.sql_output import _size
from mulgil.app.cli.table_output import OutputFormat
from mulgil.app.settings import load_project
from mulgil.app.wiring import open_engine, open_lake
from mulgil.errors import Invalid, Missing, MulgilError
from mulgil.query import Engine

SETTINGS = table.TableSettings()
NOW_US = 1_764_000_000_000_000


def append(folder: Path, name: str, rows: pa.Table, partition: tuple[str, ...] = ()) -> None:
    lake = open_lake(load_project(folder))
    location = lake.catalog.location(name)
    found = lake.catalog.find(name) or table.new(name, location, rows.schema, partition=partition)
    files = table.write_files(lake.catalog.store, found, rows, SETTINGS, NOW_US)
    staged = table.stage_append(lake.catalog.store, found, files, settings=SETTINGS, now_us=NOW_US)
    with lake.database.transaction() as transaction:
        lake.catalog.swap(transaction, staged, NOW_US)
    lake.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mulgil.yaml").write_text("sources:\n  web: {type: http, table: bronze.web}\n", encoding="utf-8")
    days = pa.array([0, 86_400_000_000, 0], pa.timestamp("us", "UTC"))
    rows = pa.table({"user": ["ann", "bob", None], "price": [1, 2, 3], "at_time": days})
    append(folder, "bronze.web", rows, ("day(at_time)", "bucket(4, user)", "price"))
    append(folder, "silver.plain", pa.table({"n": pa.array(range(2500), pa.int64())}))
    return folder


@pytest.fixture
def engine(project: Path) -> Iterator[Engine]:
    lake = open_lake(load_project(project))
    made = open_engine(lake)
    yield made
    made.close()
    lake.close()


def mulgil(project: Path, *arguments: str, typed: str | None = None) -> tuple[str, str]:
    """(standard output, standard error); errors are raised."""
    done = CliRunner().invoke(build(), ["--project", str(project), *arguments], input=typed, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_a_table_for_people_with_what_it_took(project: Path) -> None:
    out, err = mulgil(project, "sql", "SELECT user, price FROM bronze.web ORDER BY price")
    assert out.split()[:2] == ["user", "price"]
    assert out.split()[-2:] == ["NULL", "3"]
    assert err.startswith("3 rows in 0.")
    assert "kB in 3 files" in err


def test_csv_json_and_ndjson(project: Path) -> None:
    statement = "SELECT user, price FROM bronze.web ORDER BY price LIMIT 2"
    assert mulgil(project, "sql", statement, "--format", "csv")[0] == "user,price\nann,1\nbob,2\n"
    rows = [{"user": "ann", "price": 1}, {"user": "bob", "price": 2}]
    assert json.loads(mulgil(project, "sql", statement, "--format", "json")[0]) == rows
    lines = mulgil(project, "sql", statement, "--format", "ndjson")[0].splitlines()
    assert [json.loads(line) for line in lines] == rows
    none = "SELECT 1 AS a WHERE false"
    assert json.loads(mulgil(project, "sql", none, "--format", "json")[0]) == []
    assert mulgil(project, "sql", none, "--format", "ndjson")[0] == ""


def test_the_rest_of_a_long_table_is_counted_and_never_left_out_for_programs(project: Path) -> None:
    out, err = mulgil(project, "sql", "FROM silver.plain")
    assert out.splitlines()[-1] == "… 1,500 more rows; --format csv prints all 2,500"
    assert err.startswith("2,500 rows")
    many = "SELECT a.n FROM silver.plain a, range(60)"
    assert len(mulgil(project, "sql", many, "--format", "csv")[0].splitlines()) == 150_001
    assert len(json.loads(mulgil(project, "sql", many, "--format", "json")[0])) == 150_000


@pytest.mark.parametrize("ending", ["csv", "json", "ndjson", "parquet"])
def test_files_take_the_format_of_their_ending(project: Path, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"rows.{ending}"
    out, err = mulgil(project, "sql", "SELECT n FROM silver.plain, range(60)", "--output", str(target))
    assert out == ""
    assert err.startswith("150,000 rows")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    if ending == "parquet":
        read = pq.read_table(target)
        assert read.num_rows == 150_000
        assert read.schema.field("n").type == pa.int64()
    elif ending == "json":
        assert len(json.loads(target.read_text())) == 150_000
    else:
        assert len(target.read_text().splitlines()) == 150_000 + (ending == "csv")


def test_a_pipe_is_written_to_and_not_replaced(project: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    mulgil(project, "sql", "SELECT 1 AS a", "-o", str(pipe), "--format", "csv")
    reader.join(timeout=10)
    assert (read, pipe.is_fifo()) == (["a\n1\n"], True)


def test_a_query_that_fails_leaves_the_file_as_it_was(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("old")
    late = "SELECT CASE WHEN i = 900000 THEN error('late') ELSE i END FROM range(1000000) r(i)"
    with pytest.raises(Invalid, match="late"):
        mulgil(project, "sql", late, "-o", str(target))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(Invalid, match="cannot be written"):
        mulgil(project, "sql", "SELECT 1", "-o", str(tmp_path / "missing" / "rows.csv"))


def test_statements_from_a_file_and_from_a_pipe(project: Path, tmp_path: Path) -> None:
    script = tmp_path / "report.sql"
    script.write_text("SELECT 1 AS a; -- then\nSELECT 2 AS b;\n")
    assert mulgil(project, "sql", "-f", str(script), "--format", "csv")[0] == "a\n1\n\nb\n2\n"
    assert mulgil(project, "sql", "--format", "csv", typed="SELECT 3 AS c")[0] == "c\n3\n"
    assert mulgil(project, "sql", "-", "--format", "csv", typed="SELECT 3 AS c")[0] == "c\n3\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("SELECT 1", "-f", "x.sql"), "given twice"),
        (("-f", "missing.sql"), "no such file"),
        (("SELECT 1", "-o", "rows.xyz"), "add --format"),
        (("SELECT 1; SELECT 2", "--format", "parquet"), "several statements"),
        (("SELECT 1; SELECT 2", "-o", "rows.csv"), "several statements"),
        (("FROM bronze.wbe",), "did you mean bronze.web"),
    ],
)
def test_mistakes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MulgilError, match=said):
        mulgil(project, "sql", *arguments)
    assert not list(tmp_path.iterdir())


def test_exit_status_and_streams_of_the_real_program(project: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "mulgil", "--project", str(project), "sql", *arguments]
        return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)

    done = run("SELECT n FROM silver.plain LIMIT 2", "--format", "parquet")
    assert done.returncode == 0
    assert pq.read_table(pa.BufferReader(done.stdout)).to_pylist() == [{"n": 0}, {"n": 1}]
    wrong = run("SELECT nope FROM bronze.web")
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert b"line 1, column 8" in wrong.stderr
    assert b"Traceback" not in wrong.stderr


def test_explain_is_printed_as_it_is_drawn(project: Path) -> None:
    out, _ = mulgil(project, "sql", "EXPLAIN FROM silver.plain")
    assert "explain_key" not in out
    assert len(out.splitlines()) > 3


def test_all_tables(project: Path) -> None:
    out, _ = mulgil(project, "tables", "--format", "csv")
    head, *rows = [line.split(",") for line in out.splitlines()]
    assert head == ["table", "rows", "files", "size_bytes", "snapshots", "last_commit", "partition", "columns"]
    assert [row[0] for row in rows] == ["bronze.web", "silver.plain"]
    assert rows[1][1:3] == ["2500", "1"]
    [web, plain] = json.loads(mulgil(project, "tables", "--format", "json")[0])
    assert web["partition"] == "day(at_time), bucket(4, user), price"
    assert (web["rows"], web["files"], web["snapshots"], web["columns"]) == (3, 3, 1, 3)
    assert web["last_commit"] == "2025-11-24T16:00:00.000Z"
    assert plain["partition"] is None


def test_one_tables_columns(project: Path) -> None:
    out, _ = mulgil(project, "tables", "bronze.web", "--format", "csv")
    assert out == "column,type\nuser,VARCHAR\nprice,BIGINT\nat_time,TIMESTAMP WITH TIME ZONE\n"
    assert mulgil(project, "tables", "plain", "--format", "csv")[0] == "column,type\nn,BIGINT\n"
    with pytest.raises(Missing, match=r"did you mean bronze\.web"):
        mulgil(project, "tables", "bronze.wbe")


def test_the_shell_runs_what_is_typed(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with create_pipe_input() as pipe:
        pipe.send_text(
            ".format csv\nSELECT price\nFROM bronze.web\nWHERE price < 3 ORDER BY 1;\n\x03.tables WEB\n.quit\n"
        )
        Shell(engine).run(input=pipe, output=DummyOutput(), history=InMemoryHistory())
    out, err = capsys.readouterr()
    assert out == "price\n1\n2\nbronze.web\n"
    assert "2 rows in" in err


def test_the_shell_goes_on_after_a_mistake(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(engine, OutputFormat.CSV)
    for text in ("SELECT nope;", ".nonsense", ".format parquet", "", ";", ".schema bronze.wbe", ".timing off"):
        assert shell.handle(text)
    err = capsys.readouterr().err
    assert "Referenced column" in err
    assert ".nonsense is not understood" in err
    assert ".format parquet is not understood" in err
    assert "did you mean bronze.web" in err
    assert shell.handle("SELECT 1 AS a; SELECT 2 AS b;")
    assert shell.handle(".schema bronze.web;")
    assert shell.handle(".help")
    out, err = capsys.readouterr()
    assert out.startswith("a\n1\nb\n2\nuser  VARCHAR\nprice  BIGINT\n")
    assert ".timing on|off" in out
    assert err == ""
    for farewell in (".quit", "exit", "quit;", "EXIT"):
        assert not shell.handle(farewell)


def test_the_shell_ends_with_the_input(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ("\x04", "exit\r"):
        with create_pipe_input() as pipe:
            pipe.send_text(typed)
            Shell(engine).run(input=pipe, output=DummyOutput(), history=InMemoryHistory())
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("SELECT * FROM bro", ["bronze.web"]),
        ("SELECT * FROM bronze.w", ["bronze.web"]),
        ("SELECT * FROM web WHERE pri", ["price"]),
        ("sel", ["select"]),
        ("SEL", ["SELECT"]),
        (".ta", [".tables"]),
        ("SELECT zzz", []),
    ],
)
def test_completion(engine: Engine, typed: str, offered: list[str]) -> None:
    found = Words(engine).get_completions(Document(typed), None)  # type: ignore[arg-type]
    assert [one.text for one in found] == offered


def test_sizes() -> None:
    sizes = [_size(one) for one in (0, 999, 1000, 1_250_000, 999_000_000_000, 5 * 10**15)]
    assert sizes == ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "999.0 GB", "5000.0 TB"]
