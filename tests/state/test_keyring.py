from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Invalid, Missing
from mulgil.state import Database, KeyRing


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "state.db")
    yield made
    made.close()


def test_a_key_opens_what_it_was_made_for_and_nothing_else(state: Database) -> None:
    ring = KeyRing(state, TurnedClock())
    assert ring.is_empty()
    key, secret = ring.create(["write:web", "read:*"])
    assert not ring.is_empty()
    assert ring.allows(secret, "write:web")
    assert ring.allows(secret, "read:bronze")
    assert ring.allows(secret, "read:metrics")
    for grant in ("write:webb", "write:*", "write:", "delete:web", ""):
        assert not ring.allows(secret, grant), grant
    assert [one.id for one in ring.all_keys()] == [key.id]


@pytest.mark.parametrize("what", ["last", "first", "empty", "identity", "foreign", "letters"])
def test_what_is_not_the_secret_opens_nothing(state: Database, what: str) -> None:
    ring = KeyRing(state, TurnedClock())
    key, secret = ring.create(["write:*"])
    wrong = {
        "last": secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        "first": "x" + secret,
        "empty": "",
        "identity": f"mulgil_{key.id}_",
        "foreign": KeyRing(Database(state.path.with_name("other.db")), TurnedClock()).create(["write:*"])[1],
        "letters": f"mulgil_{key.id}_\udce9물길",
    }[what]
    assert not ring.allows(wrong, "write:web")


def test_the_secret_is_never_on_the_disk(state: Database) -> None:
    _, secret = KeyRing(state, TurnedClock()).create(["write:web"])
    state.close()
    random_part = secret.split("_", 2)[2]
    for path in state.path.parent.iterdir():
        assert random_part.encode() not in path.read_bytes(), path.name
        assert secret.encode() not in path.read_bytes(), path.name


def test_a_key_that_another_process_revokes_counts_no_more_after_a_second(state: Database) -> None:
    clock = TurnedClock()
    ring, other = KeyRing(state, clock), KeyRing(state, clock)
    key, secret = ring.create(["write:web"])
    assert other.allows(secret, "write:web")
    ring.revoke(key.id)
    assert not ring.allows(secret, "write:web"), "at once where it was revoked"
    clock.turn(1.5)
    assert not other.allows(secret, "write:web")
    assert other.is_empty()
    with pytest.raises(Missing):
        ring.revoke(key.id)


@pytest.mark.parametrize("grants", [[], ["web"], ["write"], ["write:"], ["write:a b"], ["own:web"], ["write:web\n"]])
def test_grants_that_mean_nothing_are_refused(state: Database, grants: list[str]) -> None:
    ring = KeyRing(state, TurnedClock())
    with pytest.raises(Invalid):
        ring.create(grants)
    assert ring.is_empty()
