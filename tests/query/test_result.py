"""Answers in every shape, large ones piece by piece, and stopped when they are not wanted any more."""

from __future__ import annotations

import _thread
import builtins
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest

from conftest import Lake
from mulgil.errors import Invalid, Missing, Retry
from mulgil.query import Engine

LARGE = "SELECT i, i::VARCHAR AS t FROM range(1000000) r(i)"


def test_every_shape(own: Engine) -> None:
    result = own.run("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'")
    assert result.columns == ["a", "b"]
    assert result.rows == 2
    assert result.arrow().to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert result.polars().equals(
        polars.DataFrame({"a": [1, 2], "b": ["x", "y"]}, schema={"a": polars.Int32, "b": polars.String})
    )
    assert result.pandas()["a"].tolist() == [1, 2]
    assert sum(batch.num_rows for batch in result.batches()) == 2
    assert result.reader().read_all().num_rows == 2
    assert result.elapsed_s >= 0
    assert repr(result).startswith("<Result: 2 rows, 2 columns")


def test_no_rows_have_columns(own: Engine) -> None:
    result = own.run("SELECT 1 AS a WHERE false")
    assert (result.rows, result.columns, result.arrow().schema.names) == (0, ["a"], ["a"])


def test_sums_are_numbers_in_pandas(own: Engine) -> None:
    result = own.run("SELECT sum(i) AS s, sum(i) * 1000000000000000000 AS huge FROM range(3) r(i)")
    assert result.arrow().to_pylist() == [{"s": Decimal(3), "huge": Decimal(3 * 10**18)}]
    assert str(result.pandas().dtypes["s"]) == "int64"


def test_a_large_answer_comes_piece_by_piece(own: Engine) -> None:
    result = own.run(LARGE)
    assert "rows still coming" in repr(result)
    largest = rows = 0
    for batch in result.batches():
        largest = max(largest, batch.num_rows)
        rows += batch.num_rows
    assert rows == result.rows == 1_000_000
    assert largest <= 65_536
    with pytest.raises(Invalid, match="already read"):
        result.batches()


def test_rows_counts_all(own: Engine) -> None:
    result = own.run(LARGE)
    assert result.rows == 1_000_000
    assert result.arrow().num_rows == 1_000_000


def test_a_mistake_far_into_the_rows_is_ours_too(own: Engine) -> None:
    sql = "SELECT CASE WHEN i = 4900000 THEN error('late') ELSE i END FROM range(5000000) r(i)"
    with pytest.raises(Invalid, match="late"):
        own.run(sql).arrow()


def test_closing_stops_it(own: Engine) -> None:
    with own.run(LARGE) as result:
        next(result.batches())
    assert own.run("SELECT 1").rows == 1


def test_a_library_that_is_missing(own: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "polars":
            raise ImportError(name)
        return real(name, *rest)

    def find(name: str, package: str | None = None) -> Any:
        return without(name)

    monkeypatch.setattr("importlib.import_module", find)
    with pytest.raises(Missing, match=r"pip install 'mulgil\[polars\]'"):
        own.run("SELECT 1").polars()


def test_ctrl_c_stops_the_engine(own: Engine) -> None:
    own.run("SELECT 1")
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        own.run("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = sqrt(i)")
    assert own.run("SELECT 2 AS a").arrow().to_pylist() == [{"a": 2}]


def test_instants_inside_lists_of_a_large_answer(own: Engine) -> None:
    result = own.run("SELECT [TIMESTAMPTZ '2026-01-01 00:00:00+09'] AS t FROM range(70000)")
    assert result.arrow().schema.field("t").type.value_type == pa.timestamp("us", "UTC")


def test_files_compacted_away_in_the_middle(lake: Lake, own: Engine) -> None:
    """The first rows are out: to begin again would double them."""
    rows = pa.table({"a": pa.array(range(70_000), pa.int64()), "t": ["x"] * 70_000})
    for _ in range(20):
        lake.append("bronze.t", rows)
    result = own.run("SELECT * FROM bronze.t ORDER BY ALL LIMIT 1")
    assert result.rows == 1
    result = own.run("SELECT * FROM bronze.t")
    taken = result.batches()
    next(taken)
    for file in lake.catalog.load("bronze.t").files():
        Path(file.path).unlink()
    try:
        count = sum(batch.num_rows for batch in taken)
    except Retry:
        return
    assert count > 1_000_000  # every file had been opened before
