"""A record that makes a decoder fail in a way that nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_line import SmallLine, event

from mulgil.delivery import decode
from mulgil.delivery.decode import Decoded, Decoder
from mulgil.record import Records


def failing(line: SmallLine, monkeypatch: pytest.MonkeyPatch, is_poison: Callable[[bytes], bool]) -> None:
    made = decode.decoder

    class Fragile:
        def __init__(self, inner: Decoder) -> None:
            self._inner = inner

        def decode(self, records: Records) -> Decoded:
            if any(is_poison(records[index]) for index in range(len(records))):
                raise ZeroDivisionError("nobody foresaw it")
            return self._inner.decode(records)

    monkeypatch.setattr(decode, "decoder", lambda *some, **more: Fragile(made(*some, **more)))


def test_it_goes_to_quarantine_and_all_others_to_the_table(line: SmallLine, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(line, monkeypatch, lambda record: b"poison" in record)
    line.post(*(event(n, word="poison" if n in (3, 50, 99) else "well") for n in range(100)))
    line.deliver()
    assert line.numbers() == [n for n in range(100) if n not in (3, 50, 99)]
    assert [row["_position"] for row in line.quarantined()] == [3, 50, 99]
    assert "ZeroDivisionError" in line.quarantined()[0]["reason"]
    assert not line.differences()


def test_a_fault_with_every_record_stops_the_flow_and_keeps_them(
    line: SmallLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(line, monkeypatch, lambda record: True)
    line.post(*(event(n) for n in range(500)))
    with pytest.raises(ZeroDivisionError):
        line.deliver()
    monkeypatch.undo()
    line.restart()
    line.deliver()
    assert line.numbers() == list(range(500))
    assert not line.differences()
