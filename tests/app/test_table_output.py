from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulgil.app.cli.table_output import ROWS_MAX_TABLE, OutputFormat, write_table

TIME = dt.datetime(2026, 1, 31, 9, 30, 0, 1, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "word": ["plain", "", None, 'a "b"', "x,y", "two\nlines", "물길"],
        "count": pa.array([1, -(2**63), 2**63 - 1, None, 0, 5, 6], pa.int64()),
        "share": [0.1, 1e300, None, -0.0, float("-inf"), float("inf"), 1 / 3],
        "price": pa.array([Decimal("1.10")] * 6 + [None], pa.decimal128(38, 2)),
        "at": pa.array([TIME] * 6 + [None], pa.timestamp("us", "Asia/Seoul")),
        "local": pa.array([TIME.replace(tzinfo=None)] * 7, pa.timestamp("us")),
        "day": [dt.date(2026, 1, 31)] * 7,
        "yes": [True, False, None, True, True, True, True],
        "raw": [b"\x00\xff"] * 6 + [None],
        "tags": [["a", "b,c"], [], None, ["d"], ["e"], ["f"], ["g"]],
        "nested": [{"a": 1, "b": {"c": None}}] * 6 + [None],
        "nothing": pa.nulls(7),
        "code": pa.array(["x", "y", "x", None, "x", "y", "x"]).dictionary_encode(),
    }
)


def written(table: pa.Table, output: OutputFormat, capsys: pytest.CaptureFixture[str]) -> str:
    write_table(table, output)
    return capsys.readouterr().out


def test_csv_is_exact_and_quotes_only_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = written(TABLE, OutputFormat.CSV, capsys)
    first = (
        'plain,1,0.1,1.10,2026-01-31T09:30:00.000001Z,2026-01-31T09:30:00.000001,2026-01-31,true,00ff,"[""a"",""b,c""]"'
    )
    assert said.splitlines()[1].startswith(first)
    rows = list(csv.reader(io.StringIO(said)))
    assert rows[0] == TABLE.column_names
    assert [row[0] for row in rows[1:]] == ["plain", "", "", 'a "b"', "x,y", "two\nlines", "물길"]
    assert [row[1] for row in rows[2:4]] == ["-9223372036854775808", "9223372036854775807"]
    assert float(rows[7][2]) == 1 / 3
    assert len({len(row) for row in rows}) == 1


def test_csv_tells_an_empty_text_from_null(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"a": ["", None], "b": ["x", "y"]})
    assert written(table, OutputFormat.CSV, capsys) == 'a,b\n"",x\n,y\n'


def test_json_is_one_array_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    said = written(TABLE, OutputFormat.JSON, capsys)
    assert len(said.splitlines()) == TABLE.num_rows + 2
    assert '"price":1.10' in said
    rows: list[dict[str, Any]] = json.loads(said, parse_float=str)
    assert [row["count"] for row in rows] == TABLE["count"].to_pylist()
    assert rows[0] | {"share": 0} == {
        "word": "plain",
        "count": 1,
        "share": 0,
        "price": "1.10",
        "at": "2026-01-31T09:30:00.000001Z",
        "local": "2026-01-31T09:30:00.000001",
        "day": "2026-01-31",
        "yes": True,
        "raw": "00ff",
        "tags": ["a", "b,c"],
        "nested": {"a": 1, "b": {"c": None}},
        "nothing": None,
        "code": "x",
    }
    assert [rows[4]["share"], rows[5]["share"]] == [None, None]


def test_json_names_that_repeat_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "a_1"])
    assert list(json.loads(written(table, OutputFormat.JSON, capsys))[0].values()) == [1, 2, 3]


def test_parquet_holds_the_very_table(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_table(TABLE, OutputFormat.PARQUET)
    assert pq.read_table(pa.BufferReader(capfdbinary.readouterr().out)).equals(TABLE)


@pytest.mark.parametrize("output", list(OutputFormat))
def test_no_rows_and_no_columns_are_no_error(output: OutputFormat, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_table(TABLE.slice(0, 0), output)
    write_table(pa.table({}), output)


def test_no_rows_still_name_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(pa.table({"a": pa.array([], pa.int64())}), OutputFormat.CSV, capsys) == "a\n"
    assert json.loads(written(pa.table({"a": pa.array([], pa.int64())}), OutputFormat.JSON, capsys)) == []


def test_a_table_for_people_sets_numbers_right_and_shows_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"name": ["a", None], "rows": [5, 1234567], "text": ["x\ty", "[red]z"]})
    lines = written(table, OutputFormat.TABLE, capsys).splitlines()
    assert lines[0].split() == ["name", "rows", "text"]
    assert lines[2].index("5") == lines[3].index("7")
    assert lines[3].startswith("–  ")
    assert "x\\ty" in lines[2]
    assert "[red]z" in lines[3]


def test_a_piped_table_is_not_cut_to_a_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert "w" * 5000 in written(pa.table({"a": ["w" * 5000]}), OutputFormat.TABLE, capsys)


def test_a_table_cuts_what_nobody_can_read_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"a": ["w" * 9_000_000, *["x"] * 500]})
    said = written(table, OutputFormat.TABLE, capsys)
    assert len(said) < 100_000
    assert said.splitlines()[-1] == "… 1 text is cut at 5,000 characters; --format csv prints all"
    assert "w" * 9_000_000 in written(table, OutputFormat.CSV, capsys)


def test_a_terminal_cuts_texts_to_its_width_but_never_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table = pa.table({"a": ["w" * 500], "b": [1234567890123], "c": ["v" * 500]})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written(table, OutputFormat.TABLE, capsys)).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 40
    assert "…" in lines[2]
    assert "1234567890123" in lines[2]


def test_columns_that_do_not_fit_the_terminal_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table = pa.table({f"column_{number}": ["w" * 30] for number in range(20)})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written(table, OutputFormat.TABLE, capsys)).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines[:3])) <= 80
    shown = lines[0].count("col")
    assert shown == 7
    assert lines[3].startswith(f"… {20 - shown} more columns: column_7, column_8, ")


def test_a_long_table_says_how_many_rows_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"n": range(ROWS_MAX_TABLE + 5)})
    said = written(table, OutputFormat.TABLE, capsys)
    assert "… 5 more rows" in said
    assert len(written(table, OutputFormat.CSV, capsys).splitlines()) == ROWS_MAX_TABLE + 6
