from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulgil.errors import Broken, Retry
from mulgil.state import Database, database

DDL = "CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "state.db")
    made.declare(DDL)
    yield made
    made.close()


def facts(state: Database) -> dict[str, int]:
    with state.read() as read:
        return dict(read.execute("SELECT name, value FROM fact"))  # type: ignore[arg-type]


def put(state: Database, name: str, value: int) -> None:
    with state.transaction() as transaction:
        transaction.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))


def test_a_transaction_happens_whole_or_not_at_all(state: Database) -> None:
    put(state, "a", 1)
    with pytest.raises(ZeroDivisionError), state.transaction() as transaction:  # noqa: PT012
        transaction.execute("INSERT INTO fact VALUES ('b', 2)")
        transaction.execute_many("UPDATE fact SET value = ? WHERE name = ?", [(3, "a")])
        _ = 1 / 0
    assert facts(state) == {"a": 1}
    put(state, "c", 4)  # and the connection is of use again
    assert facts(state) == {"a": 1, "c": 4}


def test_a_read_inside_a_transaction_sees_what_it_wrote_and_others_do_not(state: Database) -> None:
    seen_by_another: list[dict[str, int]] = []
    with state.transaction() as transaction:
        assert transaction.change("INSERT INTO fact VALUES ('a', 1)") == 1
        assert facts(state) == {"a": 1}
        other = threading.Thread(target=lambda: seen_by_another.append(facts(state)))
        other.start()
        other.join()
        assert facts(state) == {"a": 1}, "a nested read must not end the transaction"
    assert seen_by_another == [{}]
    assert facts(state) == {"a": 1}


def test_a_read_stays_at_one_moment(state: Database) -> None:
    put(state, "a", 1)
    with state.read() as read:
        assert read.execute("SELECT value FROM fact") == [(1,)]
        other = threading.Thread(target=put, args=(state, "a", 2))
        other.start()
        other.join()
        assert read.execute("SELECT value FROM fact") == [(1,)]
        assert facts(state) == {"a": 1}, "nested reads share the moment"
    assert facts(state) == {"a": 2}


def test_a_second_process_that_writes_too_long_is_a_retry(state: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    waiting = Database(state.path)
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('mine', flush=True); sys.stdin.read(); c.execute('ROLLBACK')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(state.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(Retry, match="busy"):
            put(waiting, "a", 1)
        assert facts(waiting) == {}, "readers wait for nobody"
        other.stdin.close()
    put(waiting, "a", 1)
    waiting.close()


def test_writers_of_many_threads_take_turns(state: Database) -> None:
    put(state, "sum", 0)

    def add() -> None:
        for _ in range(20):
            with state.transaction() as transaction:
                value = transaction.execute("SELECT value FROM fact WHERE name = 'sum'")[0][0]
                transaction.execute("UPDATE fact SET value = ? WHERE name = 'sum'", (value + 1,))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert facts(state) == {"sum": 80}


def test_the_connection_of_a_thread_that_has_ended_is_closed(state: Database) -> None:
    def open_files() -> int:
        return sum(1 for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and _points_to(link, state.path))

    facts(state)
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=facts, args=(state,))
        thread.start()
        thread.join()
    gc.collect()
    assert open_files() <= before + 1


def _points_to(link: Path, path: Path) -> bool:
    try:
        return str(link.readlink()).startswith(str(path))
    except OSError:
        return False


@pytest.mark.parametrize("name", ["50% off", "what?", "a#b", "물길"])
def test_the_state_lies_where_it_was_asked_to(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "state.db"
    state = Database(path)
    state.declare(DDL)
    put(state, "a", 1)
    state.close()
    assert path.is_file()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    read_only = Database(path, read_only=True)
    assert facts(read_only) == {"a": 1}
    with pytest.raises(Broken, match="cannot be written"):
        put(read_only, "a", 2)
    read_only.close()


def test_what_is_no_database_is_broken(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this was a text once" * 100)
    state = Database(tmp_path / "state.db")
    with pytest.raises(Broken, match="damaged"):
        state.declare(DDL)
    state.close()
    with pytest.raises(Broken, match="cannot be opened"):
        facts(Database(tmp_path / "nowhere" / "state.db", read_only=True))


def test_a_full_disk_is_a_retry_and_changes_nothing(state: Database) -> None:
    put(state, "a", 1)
    with state.read() as read:
        (pages,) = read.execute("PRAGMA page_count")[0]
    with pytest.raises(Retry, match="full"), state.transaction() as transaction:  # noqa: PT012
        transaction.execute(f"PRAGMA max_page_count = {pages}")
        transaction.execute("UPDATE fact SET value = 2")
        transaction.execute_many("INSERT INTO fact VALUES (?, 1)", [(f"{'x' * 500}{n}",) for n in range(1000)])
    assert facts(state) == {"a": 1}


def test_the_version_changes_when_another_connection_has_written(state: Database) -> None:
    before = state.version()
    thread = threading.Thread(target=put, args=(state, "a", 1))
    thread.start()
    thread.join()
    assert state.version() != before


def test_it_can_be_used_again_after_it_was_closed(state: Database) -> None:
    put(state, "a", 1)
    state.close()
    assert facts(state) == {"a": 1}
    with sqlite3.connect(state.path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
