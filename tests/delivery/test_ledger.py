from __future__ import annotations

import pytest
from small_line import SmallLine, event

from mulgil.delivery import ledger


def filled(line: SmallLine) -> None:
    line.post(event(1), event(2), b"{bad", event(1))
    line.deliver()
    line.clock.turn(3600)
    line.post(event(3), event(2), key="k")
    line.post(event(3), event(2), key="k")
    line.deliver()


def test_each_hour_of_arrival_has_its_entry(line: SmallLine) -> None:
    filled(line)
    entries = {hour: entry for _, _, hour, entry in ledger.read(line.database)}
    assert len(entries) == 2
    first, second = (entries[hour] for hour in sorted(entries))
    assert all(hour % ledger.HOUR_US == 0 for hour in entries)
    assert (first.records_in, first.rows_out, first.quarantined, first.deduplicated) == (4, 2, 1, 1)
    assert (second.records_in, second.rows_out, second.quarantined, second.deduplicated) == (4, 1, 0, 3)
    assert first.bytes_read == sum(len(frame.payload) for frame in line.stream.read(0, 0, 1))
    assert line.differences() == []


def test_a_delivery_over_the_hour_is_booked_in_both(line: SmallLine) -> None:
    line.post(event(1))
    line.clock.turn(3600)
    line.post(event(2))
    line.deliver()
    assert [entry.rows_out for *_, entry in ledger.read(line.database)] == [1, 1]


def test_redriven_records_are_booked_in_the_hour_in_which_they_came(line: SmallLine) -> None:
    filled(line)
    line.clock.turn(86_400)
    line.redrive()
    assert len(ledger.read(line.database)) == 2
    assert line.differences() == []


@pytest.mark.parametrize(
    ("sql", "differences"),
    [
        ("UPDATE ledger SET rows_out = rows_out + 1", {"records of source web", "rows of bronze.web"}),
        ("UPDATE ledger SET quarantined = 0", {"records of source web", "rows of bronze.web__quarantine"}),
        ("UPDATE ledger SET deduplicated = deduplicated - 1", {"records of source web"}),
        ("UPDATE ledger SET records_in = 0", {"records of source web", "sequence numbers of source web"}),
        ("UPDATE source_part SET place = place - 1", {"sequence numbers of source web"}),
        ("DELETE FROM source_part", {"records of source web that its positions cover"}),
        ("DELETE FROM ledger", {"sequence numbers of source web"}),
        (
            "DELETE FROM ledger WHERE hour_us = (SELECT max(hour_us) FROM ledger)",
            {"rows of bronze.web", "sequence numbers of source web"},
        ),
        ("DELETE FROM iceberg_tables WHERE table_name = 'web'", {"rows of bronze.web"}),
        ("DELETE FROM iceberg_tables WHERE table_name = 'web__quarantine'", {"rows of bronze.web__quarantine"}),
        (
            "UPDATE iceberg_tables SET metadata_location = previous_metadata_location WHERE table_name = 'web'",
            {"rows of bronze.web"},
        ),
    ],
)
def test_every_planted_difference_is_found(line: SmallLine, sql: str, differences: set[str]) -> None:
    filled(line)
    assert line.differences() == []
    with line.database.transaction() as transaction:
        assert transaction.change(sql)
    assert set(line.differences()) == differences


def test_a_difference_says_what_ought_to_be_equal() -> None:
    assert str(ledger.Difference("rows of bronze.web", 1200, 1199)) == (
        "rows of bronze.web: the ledger says 1,200, there are 1,199"
    )
