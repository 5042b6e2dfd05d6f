from __future__ import annotations

from pathlib import Path

import pytest

from mulgil.errors import Conflict
from mulgil.state import Database, Epoch, Fenced


def test_whoever_takes_the_epoch_fences_off_the_one_before(tmp_path: Path) -> None:
    state = Database(tmp_path / "state.db")
    state.declare("CREATE TABLE fact (value INTEGER)")
    old = Epoch.take(state, "delivery")
    other = Epoch.take(state, "care")
    with state.transaction() as transaction:
        old.check(transaction)
        transaction.execute("INSERT INTO fact VALUES (1)")
    new = Epoch.take(state, "delivery")
    assert new.number == old.number + 1
    with pytest.raises(Fenced) as refused, state.transaction() as transaction:  # noqa: PT012
        transaction.execute("INSERT INTO fact VALUES (2)")
        old.check(transaction)
    assert isinstance(refused.value, Conflict)
    assert refused.value.hint
    with state.transaction() as transaction:
        new.check(transaction)
        other.check(transaction)
        assert transaction.execute("SELECT value FROM fact") == [(1,)]
    state.close()


def test_a_state_that_was_replaced_fences_everybody_off(tmp_path: Path) -> None:
    state = Database(tmp_path / "state.db")
    epoch = Epoch.take(state, "delivery")
    with state.transaction() as transaction:
        transaction.execute("DELETE FROM writer_epoch")
    with pytest.raises(Fenced), state.transaction() as transaction:
        epoch.check(transaction)
    state.close()
