"""Records with ever new keys: read in pieces that fit into memory, and to the same rows."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from mulgil.delivery.decode import decoder, guessing
from mulgil.record import Records
from mulgil.schema import RESCUED, Format


def records(*events: object) -> Records:
    return Records.of_lines(b"\n".join(json.dumps(one).encode() for one in events))


EVER_NEW = [{f"k{number * 20 + one}": number for one in range(20)} for number in range(2_000)]


def test_pieces_hold_every_record_once_and_no_more_than_fits() -> None:
    cut = guessing.ranges(records(*EVER_NEW, {f"k{one}": 1 for one in range(100_000)}, {}, {}))
    assert [start for start, _ in cut] == [0, *(end for _, end in cut[:-1])]
    assert cut[-1][1] == 2_003
    for start, end in cut:
        keys = 20 * (min(end, 2_000) - start) + (100_000 if start <= 2_000 < end else 0)
        assert end - start == 1 or (keys <= guessing.KEYS_MAX and keys * (end - start) <= guessing.CELLS_MAX)


def test_what_is_guessed_at_is_small() -> None:
    assert guessing.may_guess(records(*[{"a": 1, "b": 2}] * 1_000))
    assert not guessing.may_guess(records(*EVER_NEW))


@pytest.mark.parametrize("known", [pa.schema([]), pa.schema({"a": pa.int64(), "t": pa.string()})])
def test_reading_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch, known: pa.Schema) -> None:
    events = [
        {"a": number, **({f"n{number // 30}": 1.5} if number % 3 else {}), "t": "x", "z": None,
         **({"a": "odd"} if number % 50 == 0 and number else {}), "o": {f"f{number % 4}": number}}
        for number in range(300)
    ]  # fmt: skip
    made = decoder(Format(), known, declared={}, time=None, strict=False)
    whole = made.decode(records(*events))
    monkeypatch.setattr(guessing, "CELLS_MAX", 300)
    monkeypatch.setattr(guessing, "KEYS_MAX", 30)
    cut = made.decode(records(*events))
    assert not cut.bad
    assert sorted(cut.rows.column_names) == sorted(whole.rows.column_names)
    for one, other in zip(cut.rows.to_pylist(), whole.rows.to_pylist(), strict=True):
        assert one == other


def test_keys_beyond_the_most_columns_are_rescued_with_their_values() -> None:
    done = decoder(Format(), pa.schema([]), declared={}, time=None, strict=False).decode(records(*EVER_NEW[:200]))
    assert len(done.rows.column_names) == 501
    for row, event in zip(done.rows.to_pylist(), EVER_NEW, strict=False):
        rescued = json.loads(row.pop(RESCUED) or "{}")
        assert {name: value for name, value in row.items() if value is not None} | rescued == event
