from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulgil.delivery import Seen, declare, seen
from mulgil.delivery.outdated import Outdated
from mulgil.delivery.seen import hashed
from mulgil.errors import Broken
from mulgil.ids import new_uuid
from mulgil.state import Database
from mulgil.storage import LocalStore

DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US


class Ids:
    """Seen, driven as the flow drives it."""

    def __init__(self, folder: Path, remember_days: int = 7) -> None:
        self.folder = folder
        self.remember_days = remember_days
        self.now_us = NOW_US
        self.database = Database(folder / "state.db")
        declare(self.database)
        self.start()

    def start(self) -> None:
        self.seen = Seen(self.database, LocalStore(), self.folder / "seen", "web", self.remember_days)

    def take(self, ids: pa.Array) -> list[bool]:
        hashes, valid = hashed(ids)
        fresh = np.ones(len(ids), dtype=bool)
        fresh[valid] = self.seen.fresh(hashes[valid])
        with self.database.transaction() as transaction:
            run = self.seen.store(transaction, hashes[valid & fresh], self.now_us)
        self.seen.adopt(run)
        self.seen.tidy(self.now_us)
        return [bool(one) for one in fresh]

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "seen").glob("*"))


@pytest.fixture
def ids(folder: Path) -> Iterator[Ids]:
    made = Ids(folder)
    yield made
    made.database.close()


TEXTS = st.one_of(st.none(), st.text(max_size=40), st.sampled_from(["a", "b", "ab", "a" * 8, "a" * 9, "물길", "0"]))
BATCHES = st.lists(st.lists(TEXTS, min_size=1, max_size=30), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES, st.integers(0, 3))
def test_it_answers_as_a_set_would(folder: Path, batches: list[list[str | None]], restart: int) -> None:
    ids = Ids(folder / new_uuid())
    known: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "INLINE_IDS_MAX", 8)  # files and merges from the start
        for number, batch in enumerate(batches):
            expected = []
            for one in batch:
                expected.append(not one or one not in known)
                known |= {one} if one else set()
            assert ids.take(pa.array(batch, pa.string())) == expected
            if restart and number % 4 == restart:
                ids.start()
    ids.database.close()


def test_ids_of_every_length_are_told_apart_by_content_and_length() -> None:
    texts = ["a" * length for length in range(1, 200)] + ["a" * 7 + "\0", "b" + "a" * 8, "\0", "\0\0"]
    hashes, valid = hashed(pa.array(texts))
    assert valid.all()
    assert len({tuple(one) for one in hashes.tolist()}) == len(texts)
    alone = [hashed(pa.array([text]))[0].tolist()[0] for text in texts]
    assert alone == hashes.tolist(), "an id's neighbours do not matter"
    sliced, _ = hashed(pa.array([None, "x", *texts, ""]).slice(2, len(texts)))
    assert sliced.tolist() == hashes.tolist()


def test_numbers_and_other_single_values_can_be_ids() -> None:
    whole, valid = hashed(pa.array([1, None, 23], pa.int64()))
    texts, _ = hashed(pa.array(["1", None, "23"], pa.large_string()))
    assert valid.tolist() == [True, False, True]
    assert whole.tolist() == texts.tolist()
    assert hashed(pa.array([True, False]))[1].all()
    assert hashed(pa.array([1.5]))[1].all()


@pytest.mark.parametrize(
    "array",
    [
        pa.array([], pa.string()),
        pa.array([], pa.int64()),
        pa.nulls(3),
        pa.nulls(3, pa.string()),
        pa.array(["", ""]),
        pa.array([{"a": 1}, None]),
        pa.array([[1], [2]]),
    ],
)
def test_what_names_no_event_is_no_id(ids: Ids, array: pa.Array) -> None:
    hashes, valid = hashed(array)
    assert hashes.shape == (len(array), 2)
    assert not valid.any()
    assert ids.take(array) == [True] * len(array)
    assert ids.take(array) == [True] * len(array)


def test_colliding_halves_are_told_apart(ids: Ids) -> None:
    """Equal in the first 64 bits, different in the others: both ways of searching."""
    few = np.array([[7, number] for number in range(0, 40, 2)], dtype=np.uint64)
    many = np.array([[number // 50, number % 50] for number in range(500)], dtype=np.uint64)
    for first, second in ((few, many), (many, few)):
        fresh = Ids(ids.folder / str(len(first)))
        with fresh.database.transaction() as transaction:
            fresh.seen.adopt(fresh.seen.store(transaction, first, NOW_US))
        told = fresh.seen.fresh(second)
        known = {tuple(one) for one in first.tolist()}
        assert told.tolist() == [tuple(one) not in known for one in second.tolist()]
        fresh.database.close()


def test_one_id_sent_a_hundred_thousand_times_costs_no_more_than_others(ids: Ids) -> None:
    ids.take(pa.array([f"{number}" for number in range(100)]))
    assert sum(ids.take(pa.array(["5"] * 100_000))) == 0
    assert sum(ids.take(pa.array(["new"] * 100_000))) == 1


def test_many_small_runs_become_few(ids: Ids) -> None:
    for first in range(0, 60_000, 600):
        assert all(ids.take(pa.array([f"id-{number}" for number in range(first, first + 600)])))
    with ids.database.read() as read:
        runs, known = read.execute("SELECT count(*), sum(ids) FROM seen_run")[0]
        named = {name for (name,) in read.execute("SELECT file FROM seen_run WHERE file IS NOT NULL")}
    assert runs <= 15
    assert known == 60_000
    assert set(ids.files()) == named, "merged files are deleted"
    assert named
    ids.start()
    assert not any(ids.take(pa.array([f"id-{number}" for number in range(0, 60_000, 7)])))


def test_ids_are_forgotten_after_their_days_and_not_before(folder: Path) -> None:
    ids = Ids(folder, remember_days=2)
    assert ids.take(pa.array(["a"])) == [True]
    ids.now_us += 2 * DAY_US
    assert ids.take(pa.array(["z"])) == [True]
    assert ids.take(pa.array(["a"])) == [False]
    ids.now_us += DAY_US
    ids.take(pa.array(["b"]))
    assert ids.take(pa.array(["a"])) == [True]
    ids.start()
    assert ids.take(pa.array(["a", "b"])) == [False, False]
    ids.database.close()


def test_nothing_is_remembered_of_a_transaction_that_failed(ids: Ids) -> None:
    hashes, _ = hashed(pa.array(["a"]))
    with pytest.raises(ZeroDivisionError), ids.database.transaction() as transaction:  # noqa: PT012
        ids.seen.store(transaction, hashes, NOW_US)
        _ = 1 / 0
    assert ids.take(pa.array(["a"])) == [True]


def test_ids_that_another_process_adds_count_here(ids: Ids) -> None:
    other = Ids(ids.folder)
    assert other.take(pa.array(["a"])) == [True]
    assert ids.take(pa.array(["a", "b"])) == [False, True]
    assert other.take(pa.array(["b", "c"])) == [False, True]
    other.database.close()


def test_ids_that_another_process_adds_between_question_and_commit_are_no_accident(ids: Ids) -> None:
    other = Ids(ids.folder)
    hashes, _ = hashed(pa.array(["a"]))
    assert ids.seen.fresh(hashes).all()
    assert other.take(pa.array(["a"])) == [True]
    with pytest.raises(Outdated), ids.database.transaction() as transaction:
        ids.seen.store(transaction, hashes, NOW_US)
    assert not ids.seen.fresh(hashes).any()
    other.database.close()


def test_one_process_merges_while_another_looks(ids: Ids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "INLINE_IDS_MAX", 8)
    other = Ids(ids.folder)
    for first in range(0, 400, 20):
        ids.take(pa.array([f"{number}" for number in range(first, first + 20)]))
        assert other.take(pa.array([f"{first}", f"x{first}"])) == [False, True]
    assert not any(Ids(ids.folder).take(pa.array([f"{number}" for number in range(400)])))
    other.database.close()


def test_files_that_a_crash_left_behind_are_swept_once_they_are_old(ids: Ids) -> None:
    ids.take(pa.array([f"{number}" for number in range(5_000)]))
    (named,) = ids.files()
    stray, young = ids.folder / "seen" / "1-2-3.ids", ids.folder / "seen" / "4-5-6.ids"
    for path, age_s in ((stray, 7200), (young, 60), (ids.folder / "seen" / named, 7200)):
        path.touch()
        os.utime(path, (NOW_US // 1_000_000 - age_s,) * 2)
    ids.start()
    assert ids.seen.sweep(NOW_US) == 1
    assert ids.files() == sorted([named, young.name])


def test_a_file_of_ids_that_is_missing_or_cut_is_broken(ids: Ids) -> None:
    ids.take(pa.array([f"{number}" for number in range(5_000)]))
    path = ids.folder / "seen" / ids.files()[0]
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(Broken, match="size"):
        ids.start()
    path.unlink()
    with pytest.raises(Broken, match="missing"):
        ids.start()
