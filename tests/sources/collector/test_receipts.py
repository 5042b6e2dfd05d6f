from __future__ import annotations

import asyncio
import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from mulgil.errors import Invalid
from mulgil.record import Block, Mark
from mulgil.schema import Format
from mulgil.sources.collector.receipts import Receipts, Shipment, read_shipment
from mulgil.sources.streamed import read_starts


def shipment(data: bytes, offset: int = 0, **more: str) -> Shipment:
    headers = {
        "mulgil-host": "h", "mulgil-path": "/p", "mulgil-generation": "g", "mulgil-offset": str(offset),
        "mulgil-length": str(len(data)), "mulgil-crc32": f"{zlib.crc32(data):x}",
    }  # fmt: skip
    return read_shipment({**headers, **{f"mulgil-{name}": value for name, value in more.items()}}, data)


def starts(*places: int) -> str:
    return base64.b64encode(np.diff(np.array(places), prepend=0).astype("<u4").tobytes()).decode()


def records(one: Shipment) -> list[bytes]:
    """As delivery will cut them."""
    about = json.loads(one.meta())
    cuts = read_starts(about["starts"]) if "starts" in about else None
    found = Block("g", "byte", one.offset, one.payload, 0, Mark("g", one.offset + one.length), starts=cuts).records
    return [found[index] for index in range(len(found))]


def test_lines_are_counted_as_delivery_will_find_them() -> None:
    for data in (b"a\nb\n", b"a\n\n\r\nb", b"\n\n", b"a\r\n b \n"):
        one = shipment(data)
        assert one.count == len(records(one)), data
        assert one.length == len(data)


def test_records_of_several_lines_are_cut_where_the_agent_says() -> None:
    data = b"a 1\n  more\nb 2\n\nc 3\n"
    one = shipment(data, 50, starts=starts(0, 11, 15, 16))
    assert records(one) == [b"a 1\n  more", b"b 2", b"c 3"]
    assert one.count == 3, "a blank one is none"
    rest = one.after(61)
    assert (rest.offset, rest.length, rest.count) == (61, len(data) - 11, 2)
    assert records(rest) == [b"b 2", b"c 3"]


def test_what_was_taken_in_is_cut_off() -> None:
    one = shipment(b"aa\nbb\ncc\n", 10, unreadable="5")
    assert one.after(0) is one
    assert one.after(10).unreadable == 5
    rest = one.after(13)
    assert (rest.offset, rest.length, rest.count, rest.payload, rest.unreadable) == (13, 6, 2, b"bb\ncc\n", 0)
    for end in (19, 100):
        nothing = one.after(end)
        assert (nothing.length, nothing.count, nothing.payload) == (0, 0, b"")


def test_the_formats_that_are_declared_travel() -> None:
    form = Format(kind="csv", fields=("a", "b"), delimiter=";")
    one = shipment(b"1;2\n", format=form.as_text())
    assert one.format == form
    assert Format.of(json.loads(one.meta())["format"]) == form


@pytest.mark.parametrize(
    "more",
    [
        {"offset": "-1"},
        {"offset": "x"},
        {"offset": str(2**40 - 6)},
        {"offset": "1" + "0" * 30},
        {"unreadable": "1" + "0" * 30},
        {"length": "3"},
        {"crc32": "0"},
        {"crc32": "not hex"},
        {"unreadable": "-1"},
        {"unreadable": "many"},
        {"starts": "!"},
        {"starts": starts(0, 99)},
        {"starts": starts(3, 3)},
        {"starts": base64.b64encode(b"abc").decode()},
        {"format": "{"},
        {"format": "[]"},
        {"format": '"json"'},
        {"format": '{"kind":"xml"}'},
        {"format": '{"kind":"csv","fields":"ab"}'},
        {"format": '{"kind":"regex","pattern":7}'},
        {"format": '{"kind":"csv","quote":"x"}'},
        {"generation": ""},
        {"generation": "shard-0"},
        {"generation": "g" * 1000},
    ],
)
def test_what_an_agent_cannot_have_meant_is_refused(more: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        shipment(b"aa\nbb\n", **more)


def test_a_missing_header_is_named() -> None:
    with pytest.raises(Invalid, match="mulgil-offset"):
        read_shipment({}, b"")


def test_marks_are_asked_for_once_and_few_are_kept() -> None:
    asked: list[str] = []

    def stored(source: str, generation: str) -> int:
        asked.append(generation)
        return 7

    receipts = Receipts(stored, remembered=10)
    receipts.advance("logs", "a", 100)
    for number in range(9):
        assert receipts.offset("logs", f"g{number}") == 7
        assert receipts.offset("logs", "a") == 100
    assert len(asked) == 9
    for number in range(100):
        receipts.offset("logs", f"h{number}")
    assert len(receipts._offsets) == 10
    assert receipts.offset("logs", "a") == 7, "let go: state and stream tell"


def test_requests_for_one_file_take_turns_and_leave_nothing_behind() -> None:
    receipts = Receipts(lambda source, generation: 0)
    running: list[str] = []
    most: dict[str, int] = {}

    async def one(generation: str, fail: bool) -> None:
        async with receipts.turn("logs", generation):
            running.append(generation)
            most[generation] = max(most.get(generation, 0), running.count(generation))
            most["all"] = max(most.get("all", 0), len(running))
            await asyncio.sleep(0.001)
            running.remove(generation)
            if fail:
                raise Invalid("no")

    async def many() -> list[Any]:
        jobs = [one(f"g{number % 3}", number % 4 == 0) for number in range(30)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    done = asyncio.run(many())
    assert sum(isinstance(each, Invalid) for each in done) == 8
    assert {most[f"g{number}"] for number in range(3)} == {1}
    assert most["all"] == 3
    assert not receipts._turns
