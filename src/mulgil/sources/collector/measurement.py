"""Google Analytics 4's Measurement Protocol: its bodies become events, one for each of their `events`.

Format: https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference (a JSON object with
`client_id` or `app_instance_id`, `user_id`, `timestamp_micros`, `user_properties` and up to 25 `events` of `name`
and `params`). An event keeps what it says itself and takes the rest from its request.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mulgil.errors import Invalid
from mulgil.sources.collector.body import Body

EVENTS_MAX = 25


class _Hit(msgspec.Struct):
    name: str
    params: dict[str, Any] = {}
    timestamp_micros: int | str | None = None


class _Request(msgspec.Struct):
    events: list[_Hit]
    client_id: str | int | float | None = None
    app_instance_id: str | None = None
    user_id: str | int | None = None
    timestamp_micros: int | str | None = None
    user_properties: dict[str, Any] | None = None
    non_personalized_ads: bool | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_ENCODER = msgspec.json.Encoder()


def read_measurement(data: bytes, measurement_id: str, now_us: int) -> Body:
    """Events of one request to `/mp/collect`. Raises `Invalid`.

    Each becomes `{event_name, event_timestamp, client_id, user_id, measurement_id, params, user_properties}`;
    `event_timestamp` is in microseconds since 1970, the time of arrival where the request names none.
    """
    try:
        request = _REQUEST.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"not a Measurement Protocol body: {error}") from error
    if not request.events:
        raise Invalid("the request has no events")
    if len(request.events) > EVENTS_MAX:
        raise Invalid(f"the request has {len(request.events)} events", hint=f"the protocol allows {EVENTS_MAX}")
    if request.client_id is None and request.app_instance_id is None:
        raise Invalid("client_id is missing", hint="a web stream sends client_id, an app stream app_instance_id")
    lines = []
    for hit in request.events:
        event: dict[str, Any] = {
            "event_name": hit.name,
            "event_timestamp": _micros(hit.timestamp_micros or request.timestamp_micros, now_us),
            "client_id": _text(request.client_id),
            "app_instance_id": request.app_instance_id,
            "user_id": _text(request.user_id),
            "measurement_id": measurement_id or None,
            "params": hit.params or None,
            "user_properties": request.user_properties or None,
        }
        lines.append(_ENCODER.encode({key: value for key, value in event.items() if value is not None}) + b"\n")
    return Body(b"".join(lines), len(lines))


def _micros(value: int | str | None, now_us: int) -> int:
    if value is None:
        return now_us
    try:
        micros = int(value)
    except ValueError as error:
        raise Invalid(f"timestamp_micros {value!r} is not a number of microseconds") from error
    if not 0 <= micros < 2**63:
        raise Invalid(f"timestamp_micros {value} is no time")
    return micros


def _text(value: object) -> str | None:
    return None if value is None else str(value)
