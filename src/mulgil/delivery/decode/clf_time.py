"""Times of access logs, `17/May/2015:10:05:03 +0000`, each distinct text read once. Called by `access_log.py`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa

from mulgil.delivery.decode.times import TIME

TIME_OCTETS = 26
"""Length of such a time."""

MONTHS = {
    name: number
    for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)  # noqa: SIM905
}
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)


def clf_times(texts: pa.Array) -> pa.Array:
    """timestamp[us, UTC][n], null where a text is no such time."""
    each = texts.dictionary_encode()
    return pa.array([moment(text) for text in each.dictionary.to_pylist()], TIME).take(each.indices)


def moment(text: str) -> datetime | None:
    """One such time, or ISO 8601 as nginx's $time_iso8601 writes it; None when it is neither."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            iso = datetime.fromisoformat(text)
            return iso if iso.tzinfo is not None else iso.replace(tzinfo=UTC)
        day, month, year, hour, minute, second, sign, off_hours, off_minutes = match.groups()
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes))
        zone = timezone(-offset if sign == "-" else offset) if offset else UTC
        return datetime(int(year), MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second), tzinfo=zone)
    except ValueError:
        return None
