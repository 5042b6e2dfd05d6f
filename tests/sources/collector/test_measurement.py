from __future__ import annotations

import json
from typing import Any

import pytest

from mulgil.errors import Invalid
from mulgil.sources.collector import read_measurement

NOW_US = 1_764_000_000_000_000


def told(body: dict[str, Any] | bytes) -> list[dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = read_measurement(data, "G-1", NOW_US)
    lines = made.payload.splitlines()
    assert len(lines) == made.count
    return [json.loads(line) for line in lines]


def test_each_event_of_a_request_becomes_one_of_its_own() -> None:
    events = told(
        {
            "client_id": "x.y",
            "user_id": "u",
            "timestamp_micros": "1700000000000000",
            "user_properties": {"plan": {"value": "pro"}},
            "events": [
                {"name": "purchase", "params": {"value": 12.5, "items": [{"id": 1}]}},
                {"name": "page_view", "timestamp_micros": 1700000000000001},
            ],
        }
    )
    assert events[0] == {
        "event_name": "purchase",
        "event_timestamp": 1700000000000000,
        "client_id": "x.y",
        "user_id": "u",
        "measurement_id": "G-1",
        "params": {"value": 12.5, "items": [{"id": 1}]},
        "user_properties": {"plan": {"value": "pro"}},
    }
    assert events[1]["event_timestamp"] == 1700000000000001
    assert "params" not in events[1]


def test_an_event_without_a_time_has_that_of_its_arrival() -> None:
    assert told({"client_id": "a", "events": [{"name": "x"}]})[0]["event_timestamp"] == NOW_US


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {"events": [{"name": "x"}]},
        {"client_id": "a"},
        {"client_id": "a", "events": []},
        {"client_id": "a", "events": [{"name": "x"}] * 26},
        {"client_id": "a", "events": [{"params": {}}]},
        {"client_id": "a", "events": [{"name": "x"}], "timestamp_micros": "soon"},
        {"client_id": "a", "events": [{"name": "x"}], "timestamp_micros": "9" * 30},
        {"client_id": "a", "events": [{"name": "x"}], "timestamp_micros": -(10**30)},
        b'{"client_id":"a","events":[{"name":"x","params":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]}",
        b'{"client_id":"a","events":[{"name":"x","params":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]}",
        b'{"client_id":"a","events":[{"name":"\\ud800"}]}',
    ],
)
def test_what_is_no_measurement_is_refused(body: Any) -> None:
    try:
        told(body)
    except Invalid:
        return
    assert isinstance(body, bytes)
    assert b'{"a":' * 900 in body, "only the deep one may pass"
