"""Fractions that arrive for a column of whole numbers: widened where nothing is lost, rescued where it would be."""

from __future__ import annotations

import json
from pathlib import Path

from small_line import SmallLine, event

from mulgil import table
from mulgil.delivery import Target
from oracle import pyiceberg_rows


def test_whole_numbers_become_doubles_and_older_rows_keep_theirs(line: SmallLine) -> None:
    line.post(event(1, price=5), event(2, price=None), event(3))
    line.deliver()
    before = line.catalog.load("bronze.web")
    line.post(event(4, price=7.5), event(5, price=8))
    line.deliver()
    after = line.catalog.load("bronze.web")
    assert str(after.arrow_schema.field("price").type) == "double"
    found = {row["n"]: row["price"] for row in line.rows().to_pylist()}
    assert found == {1: 5.0, 2: None, 3: None, 4: 7.5, 5: 8.0}
    assert line.rows()["_rescued"].null_count == 5
    read = pyiceberg_rows(line.database.path, "bronze.web")
    assert sorted(one for one in read["price"].to_pylist() if one is not None) == [5.0, 7.5, 8.0]
    old = after.at(before.snapshot_id or 0)
    assert str(old.arrow_schema.field("price").type) == "int64"
    assert not line.differences()


def test_a_batch_of_mixed_numbers_is_double_from_the_start(line: SmallLine) -> None:
    line.post(event(1, price=5), event(2, price=5.5))
    line.deliver()
    assert {row["n"]: row["price"] for row in line.rows().to_pylist()} == {1: 5.0, 2: 5.5}


def test_numbers_that_no_double_can_say_keep_their_column_whole(line: SmallLine) -> None:
    line.post(event(1, big=2**53 + 1))
    line.deliver()
    line.post(event(2, big=0.5))
    line.deliver()
    rows = {row["n"]: row for row in line.rows().to_pylist()}
    assert rows[1]["big"] == 2**53 + 1
    assert rows[2]["big"] is None
    assert json.loads(rows[2]["_rescued"]) == {"big": 0.5}
    assert not line.differences()


def test_a_declared_type_is_kept(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", columns={"price": "long"}))
    line.post(event(1, price=5))
    line.deliver()
    line.post(event(2, price=5.5))
    line.deliver()
    rows = {row["n"]: row for row in line.rows().to_pylist()}
    assert (rows[1]["price"], rows[2]["price"]) == (5, None)
    assert json.loads(rows[2]["_rescued"]) == {"price": 5.5}
    line.close()


def test_a_partition_column_is_never_widened(folder: Path) -> None:
    line = SmallLine(folder, Target("bronze.web", partition=("shop",)))
    line.post(event(1, shop=5))
    line.deliver()
    line.post(event(2, shop=5.5))
    line.deliver()
    rows = {row["n"]: row for row in line.rows().to_pylist()}
    assert (rows[1]["shop"], rows[2]["shop"]) == (5, None)
    line.close()


def test_a_table_over_the_limit_is_not_rewritten(line: SmallLine) -> None:
    line.post(event(1, price=5))
    line.deliver()
    made = line.catalog.load("bronze.web")
    assert table.can_be_doubles(made, {"price"}, made.size_bytes)
    assert not table.can_be_doubles(made, {"price"}, made.size_bytes - 1)
    assert not table.can_be_doubles(made, {"event_id"}, 2**30)
    assert not table.can_be_doubles(made, {"nothing"}, 2**30)
