"""Names, statements, the past, many threads."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from conftest import Lake
from mulgil.errors import Broken, Invalid, Missing
from mulgil.query import Engine, QuerySettings

ROWS = pa.table({"user": ["ann", "bob", "ann"], "price": [1, 2, 3]})


def values(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    table = engine.run(sql).arrow()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    lake.append("bronze.web", ROWS)
    lake.append("bronze.access", pa.table({"path": ["/"], "status": [200]}))
    lake.append("silver.access", pa.table({"path": ["/", "/a"]}))
    return lake


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT sum(price) FROM bronze.web", [(6,)]),
        ("SELECT sum(price) FROM web", [(6,)]),
        ("SELECT sum(Price) FROM BRONZE.Web;", [(6,)]),
        ('SELECT sum(price) FROM "bronze"."web" -- why not\n', [(6,)]),
        ("SELECT bronze.web.price FROM bronze.web WHERE user = 'bob'", [(2,)]),
        ("FROM web SELECT count(*)", [(3,)]),
        ("FROM web WHERE price = 2", [("bob", 2)]),
        ("WITH web AS (SELECT 7 AS price) SELECT price FROM web", [(7,)]),
        ("WITH web AS (SELECT price + 1 AS price FROM web) SELECT sum(price) FROM web", [(9,)]),
        ("WITH a AS (FROM web), b AS (FROM a) SELECT count(*) FROM b", [(3,)]),
        ("WITH RECURSIVE web(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM web WHERE n<4) SELECT max(n) FROM web", [(4,)]),
        ("SELECT (SELECT max(price) FROM web) + count(*) FROM silver.access", [(5,)]),
        ("SELECT count(*) FROM silver.access JOIN bronze.access USING (path)", [(1,)]),
        ("FROM bronze.access SELECT path UNION ALL FROM silver.access ORDER BY 1", [("/",), ("/",), ("/a",)]),
        ("SELECT count(*) FROM web WHERE price IN (SELECT status / 100 FROM bronze.access)", [(1,)]),
        ("SELECT list_transform([1], lambda x: x + 1) FROM web LIMIT 1", [([2],)]),
        ("PIVOT web ON user IN ('ann', 'bob') USING sum(price)", [(4, 2)]),
        ("SELECT 'FROM bronze.nothing' AS t", [("FROM bronze.nothing",)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("SELECT x.price FROM web AS x, LATERAL (SELECT x.price AS p) WHERE p = 3", [(3,)]),
        ("SHOW TABLES", [("bronze", "access"), ("bronze", "web"), ("silver", "access")]),
        ("SHOW TABLES FROM silver", [("silver", "access")]),
        ("SHOW DATABASES", [("bronze",), ("silver",)]),
        ("SELECT table_name FROM information_schema.tables WHERE table_name < 'b' LIMIT 1", [("access",)]),
        ("SELECT column_name FROM (DESCRIBE web)", [("user",), ("price",)]),
        ("SELECT column_name, count FROM (SUMMARIZE web)", [("user", 3), ("price", 3)]),
    ],
)  # fmt: skip
def test_every_way_to_name_a_table(filled: Lake, engine: Engine, sql: str, expected: list[tuple[object, ...]]) -> None:
    assert values(engine, sql) == expected


def test_describe_and_explain_answer(filled: Lake, engine: Engine) -> None:
    assert values(engine, "DESCRIBE bronze.web")[0][:2] == ("user", "VARCHAR")
    assert "parquet" in str(values(engine, "EXPLAIN SELECT * FROM bronze.web")).lower()
    assert "total time" in str(values(engine, "EXPLAIN ANALYZE SELECT count(*) FROM bronze.web")).lower()


def test_pivot_finds_its_columns_itself(filled: Lake, own: Engine) -> None:
    assert values(own, "PIVOT web ON user USING sum(price)") == [(4, 2)]
    assert own.run("PIVOT bronze.access ON path USING count(*)").columns == ["status", "/"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM access", "access could be bronze.access or silver.access"),
        ("SELECT * FROM bronze.wbe", "there is no table bronze.wbe (did you mean bronze.web?)"),
        ("SELECT * FROM weeb", "there is no table weeb (did you mean bronze.web?)"),
        ("SELECT * FROM gold.web", "there is no table gold.web (did you mean bronze.web?)"),
        ("SELECT * FROM zzzzzz", "there is no table zzzzzz (`mulgil tables` lists them)"),
        ('SELECT * FROM "bronze.web"', "write bronze.web without the quotes"),
        ("SHOW TABLES FROM gold", "there is no database gold"),
        ("SELECT 1; SELECT 2", "these are 2 statements"),
        ("  -- nothing", "there is no SQL in it"),
        ("SELECT price FRM web", "line 1, column 18: syntax error at or near"),
        ("SELECT\n  prise FROM web", 'line 2, column 3: Referenced column "prise" not found'),
        ("SELECT nonesuch(price) FROM web", "line 1, column 8: Scalar Function with name nonesuch does not exist!"),
        ("SELECT user::INT FROM web", "Could not convert string 'ann' to INT32"),
    ],
)
def test_mistakes_are_said_with_place_and_cure(filled: Lake, engine: Engine, sql: str, said: str) -> None:
    with pytest.raises((Invalid, Missing)) as caught:
        engine.run(sql).arrow()
    assert said in str(caught.value)
    assert "lake_" not in str(caught.value)
    assert "Error:" not in str(caught.value)


def test_the_excerpt_points_at_the_word(filled: Lake, engine: Engine) -> None:
    with pytest.raises(Invalid) as caught:
        engine.run("SELECT user, prise FROM web")
    line, caret = caught.value.what.splitlines()[-2:]
    assert line[caret.index("^") :].startswith("prise")


def test_a_script_runs_each_statement(filled: Lake, engine: Engine) -> None:
    results = list(engine.run_all("SELECT 1; SELECT count(*) FROM web;\n"))
    assert [one.arrow().column(0).to_pylist() for one in results] == [[1], [3]]
    with pytest.raises(Invalid, match="syntax"):
        engine.run_all("SELECT 1; SELEC 2")


def test_the_result_tells_what_was_read(filled: Lake, engine: Engine) -> None:
    result = engine.run("SELECT * FROM bronze.web, silver.access")
    tables = filled.catalog.load_all(["bronze.web", "silver.access"])
    assert result.snapshots == {name: one.snapshot_id for name, one in tables.items()}
    assert result.bytes_scanned == sum(one.size_bytes for one in tables.values())
    assert result.files_scanned == 2


def test_an_empty_table_has_its_types(lake: Lake, engine: Engine) -> None:
    lake.append("bronze.none", ROWS.slice(0, 0))
    result = engine.run("SELECT * FROM bronze.none")
    assert result.schema.types == [pa.string(), pa.int64()]
    assert result.arrow().num_rows == 0
    assert result.snapshots == {"bronze.none": None}


def test_a_new_commit_is_seen_at_once(filled: Lake, engine: Engine) -> None:
    assert values(engine, "SELECT count(*) FROM web") == [(3,)]
    filled.append("bronze.web", ROWS)
    assert values(engine, "SELECT count(*) FROM web") == [(6,)]


def test_pointers_are_read_in_one_transaction(filled: Lake) -> None:
    asked: list[list[str]] = []

    class Watched:
        names = staticmethod(filled.catalog.names)

        def load_all(self, names: list[str]) -> dict[str, object]:
            asked.append(list(names))
            return dict(filled.catalog.load_all(names))

    engine = Engine(Watched())  # type: ignore[arg-type]
    engine.run("SELECT * FROM bronze.web, silver.access, bronze.access")
    assert asked == [["bronze.access", "bronze.web", "silver.access"]]


@pytest.mark.parametrize(
    "clause",
    [
        "FOR VERSION AS OF {id}",
        "AT (VERSION => {id})",
        "FOR TIMESTAMP AS OF TIMESTAMP '{time}'",
        "FOR TIMESTAMP AS OF '{time}'::TIMESTAMP",
        "FOR TIMESTAMP AS OF (TIMESTAMP '{time}')",
        "FOR TIMESTAMP AS OF TIMESTAMP '{time}' + INTERVAL '1' HOUR - INTERVAL 1 HOUR",
        "FOR SYSTEM_TIME AS OF make_timestamp({us})",
        "AT (TIMESTAMP => TIMESTAMP '{time}')",
    ],
)
@pytest.mark.parametrize("alias", ["", " w", " AS w"])
def test_the_past(filled: Lake, own: Engine, clause: str, alias: str) -> None:
    first = filled.catalog.load("bronze.web").snapshot_id
    us = filled.clock.now_us()
    time = dt.datetime.fromtimestamp(us / 1e6, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    filled.clock.turn(7200)
    filled.append("bronze.web", pa.table({"price": [10], "shop": ["x"]}))
    clause = clause.format(id=first, time=time, us=us)
    name = "w" if alias else "web"
    sql = f"SELECT sum({name}.price) FROM bronze.web {clause}{alias} WHERE {name}.user <> 'é' GROUP BY ALL"
    assert values(own, sql) == [(6,)]
    assert values(own, f"SELECT * FROM (SELECT count(*) FROM web {clause}{alias}), (SELECT count(*) FROM web)") == [
        (3, 4)
    ]
    assert own.run(f"FROM bronze.web {clause}{alias}").columns == ["user", "price"]
    assert own.run(f"FROM bronze.web {clause}{alias}").snapshots == {"bronze.web": first}


def test_of_one_moments_snapshots_the_last_counts(filled: Lake, own: Engine) -> None:
    us = filled.clock.now_us()
    filled.append("bronze.web", ROWS)
    sql = f"SELECT count(*) FROM web FOR TIMESTAMP AS OF make_timestamp({us})"
    assert values(own, sql) == [(6,)]


def test_the_past_that_is_not_there(filled: Lake, engine: Engine) -> None:
    with pytest.raises(Missing, match="no snapshot 42 any more"):
        engine.run("FROM web FOR VERSION AS OF 42")
    with pytest.raises(Missing, match="no snapshot as old as 2001"):
        engine.run("FROM web FOR TIMESTAMP AS OF TIMESTAMP '2001-01-01'")
    with pytest.raises(Missing, match="no branch or tag 'release'"):
        engine.run("FROM web FOR VERSION AS OF 'release'")
    with pytest.raises(Invalid, match="soon"):
        engine.run("FROM web FOR TIMESTAMP AS OF 'soon'")
    assert values(engine, "SELECT count(*) FROM web FOR VERSION AS OF 'main'") == [(3,)]


def test_relations_are_computed_when_they_are_named(filled: Lake) -> None:
    calls: list[int] = []

    def ledger() -> pa.Table:
        calls.append(1)
        return pa.table({"source": ["web"], "rows": [len(calls)]})

    engine = Engine(filled.catalog, relations={"mulgil.ledger": ledger})
    assert values(engine, "SELECT count(*) FROM web") == [(3,)]
    assert not calls
    assert values(
        engine, "SELECT rows, price FROM mulgil.ledger JOIN web ON source = 'web' ORDER BY price LIMIT 1"
    ) == [(1, 1)]
    assert values(engine, "SELECT rows FROM ledger") == [(2,)]
    assert engine.names() == ["bronze.access", "bronze.web", "mulgil.ledger", "silver.access"]
    with pytest.raises(Invalid, match="has no past"):
        engine.run("FROM mulgil.ledger FOR VERSION AS OF 1")


def test_a_table_that_has_no_rows_yet_is_told_from_a_slip(filled: Lake) -> None:
    engine = Engine(filled.catalog, expected=["bronze.wee"])
    for sql in ("FROM bronze.wee", "FROM Wee"):
        with pytest.raises(Missing, match=r"there is no table bronze\.wee yet .its first row makes it"):
            engine.run(sql)
    with pytest.raises(Missing, match=r"did you mean bronze\.web"):
        engine.run("FROM bronze.wb")
    engine.close()


def test_a_file_swept_after_planning_is_planned_again(filled: Lake) -> None:
    """Between reading the pointer and opening the file, compaction and a sweep go by."""
    old = filled.catalog.load("bronze.web")
    stale = [old]

    class Slow:
        names = staticmethod(filled.catalog.names)

        def load_all(self, names: list[str]) -> dict[str, object]:
            return {"bronze.web": stale.pop()} if stale else dict(filled.catalog.load_all(names))

    for path in filled.replace_all("bronze.web", ROWS):
        Path(path).unlink()
    assert values(Engine(Slow()), "SELECT sum(price) FROM bronze.web") == [(6,)]  # type: ignore[arg-type]


def test_a_file_that_is_gone_for_good_is_broken(filled: Lake, engine: Engine) -> None:
    [file] = filled.catalog.load("bronze.web").files()
    Path(file.path).unlink()
    with pytest.raises(Broken, match="a data file of the lake is not there") as caught:
        engine.run("SELECT sum(price) FROM bronze.web")
    assert caught.value.where == file.path


def test_many_threads_share_an_engine(filled: Lake, own: Engine) -> None:
    found: list[object] = []

    def ask() -> None:
        for _ in range(5):
            found.extend(values(own, "SELECT sum(price) FROM web"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [(6,)] * 20


def test_nothing_is_left_behind(filled: Lake, own: Engine) -> None:
    result = own.run("SELECT a.price FROM web a, range(200000)")
    next(result.batches())
    result.close()
    with pytest.raises(Invalid):
        own.run("SELECT nope FROM web")
    assert values(own, "SELECT count(*) FROM duckdb_databases() WHERE database_name LIKE 'lake%'") == [(0,)]


def test_an_engine_that_broke_down_is_replaced(filled: Lake, own: Engine) -> None:
    own.run("SELECT 1")
    own._sessions._base.close()  # type: ignore[union-attr]  # as after an internal error, nothing works any more
    own._sessions.close()
    assert values(own, "SELECT sum(price) FROM web") == [(6,)]


def test_settings_reach_the_engine(lake: Lake, tmp_path: Path) -> None:
    settings = QuerySettings(threads=1, memory_bytes_max=200_000_000, temporary_folder=str(tmp_path / "spill"))
    engine = Engine(lake.catalog, settings=settings)
    sql = "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('temp_directory')"
    assert values(engine, sql) == [(1, "190.7 MiB", str(tmp_path / "spill"))]
