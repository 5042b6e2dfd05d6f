"""Times as people write them, to microseconds in UTC: ISO 8601 and seconds since 1970, vectorised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.lines import Mask

TIME = pa.timestamp("us", "UTC")

TIME_NAMES = (
    "event_time", "event_timestamp", "timestamp", "time", "ts", "@timestamp", "datetime", "occurred_at", "created_at",
    "timestamp_micros", "event_timestamp_micros", "timestamp_ms", "timestamp_millis", "date_time",
)  # fmt: skip
"""Names under which senders put the time of an event, the likeliest first."""

SAMPLE_ROWS = 1_000
"""Rows that `find_time` looks at."""

DAY_US = 86_400_000_000
YEAR_1_US = -719_162 * DAY_US
YEAR_10000_US = 2_932_897 * DAY_US
YEAR_2000_US = 946_684_800_000_000
YEAR_2100_US = 4_102_444_800_000_000

_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_ZONE = r"\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"
_NUMBER = r"^[+-]?\d{1,19}(\.\d+)?$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_texts(texts: pa.Array) -> tuple[pa.Array, Mask | None]:
    """timestamp[us, UTC][n], null where nothing could be read; and which values those are (None: all were read).

    ISO 8601 with `T` or a space, 0 to 9 fractional digits (cut to 6), with an offset or without (then UTC); or
    a number since 1970 as `from_epoch` reads it.
    """
    for wanted in (TIME, pa.timestamp("us")):
        try:
            return pc.cast(texts, wanted).cast(TIME), None
        except pa.ArrowInvalid:
            pass
    tidy = pc.utf8_trim_whitespace(texts)
    for pattern, word in ((r"([0-9])[.,](\d{1,6})\d*", r"\1.\2"), (r"\s*([Zz]|UTC|GMT)$", "Z"), ("t", "T")):
        tidy = pc.replace_substring_regex(tidy, pattern, word)
    tidy = pc.replace_substring_regex(tidy, r"\s+([+-]\d\d:?\d\d)$", r"\1")
    iso = pc.match_substring_regex(tidy, _ISO)
    zoned = pc.and_(iso, pc.match_substring_regex(tidy, _ZONE))
    plain = pc.and_(iso, pc.invert(zoned))
    number = pc.match_substring_regex(tidy, _NUMBER)
    found = pc.coalesce(
        _cast(pc.if_else(zoned, tidy, None), TIME),
        _cast(pc.if_else(plain, tidy, None), pa.timestamp("us")).cast(TIME),
        _from_digits(pc.if_else(number, tidy, None)),
    )
    return found, _missing(texts, found)


def from_epoch(numbers: pa.Array) -> tuple[pa.Array, Mask | None]:
    """timestamp[us, UTC][n] from numbers since 1970, and which were none (None: all were).

    Below 10^11 they are seconds, below 10^14 milliseconds, below 10^17 microseconds, then nanoseconds: each
    reading covers the years 1973 to 5138 of its unit.
    """
    if pa.types.is_floating(numbers.type):
        values = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        fits = np.abs(values) < 9.2e18
        values = np.where(fits, values, 0.0)
        size = np.abs(values)
        scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
        micros = np.round(values * scale).astype(np.int64)
    else:
        whole = pc.fill_null(pc.cast(numbers, pa.int64()), 0).to_numpy(zero_copy_only=False)
        fits = whole != np.iinfo(np.int64).min
        size = np.abs(np.where(fits, whole, 0))
        micros = np.select(
            [size < 10**11, size < 10**14, size < 10**17], [whole * 1_000_000, whole * 1_000, whole], whole // 1_000
        )
    wrong = ~fits & pc.is_valid(numbers).to_numpy(zero_copy_only=False)
    null = pc.is_null(numbers).to_numpy(zero_copy_only=False) | wrong
    return pa.array(micros, TIME, mask=null), wrong if wrong.any() else None


def in_known_years(array: pa.Array) -> pa.Array:
    """Times and dates outside the years 1 to 9999 become null: Python has no word for them, nor have many readers of
    tables. Other types are answered as they are."""
    if pa.types.is_timestamp(array.type):
        numbers, low, high = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64()), YEAR_1_US, YEAR_10000_US
    elif pa.types.is_date32(array.type):
        numbers, low, high = array.cast(pa.int32()), YEAR_1_US // DAY_US, YEAR_10000_US // DAY_US
    else:
        return array
    bounds = pc.min_max(numbers)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None or (least >= low and most < high):
        return array
    return pc.if_else(pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high)), array, None)


def find_time(rows: pa.Table) -> str | None:
    """The column that holds the time of the event, by its name and by its values; None when no column does."""
    folded = {name.casefold(): name for name in reversed(rows.column_names)}
    for wanted in TIME_NAMES:
        name = folded.get(wanted)
        if name is None:
            continue
        sample = rows.column(name).slice(0, SAMPLE_ROWS).combine_chunks()
        if _is_time(sample):
            return str(name)
    return None


def _is_time(sample: pa.Array) -> bool:
    kind = sample.type
    if sample.null_count == len(sample):
        return False
    if pa.types.is_timestamp(kind):
        return True
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found, wrong = parse_texts(pc.cast(sample, pa.string()))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found, wrong = from_epoch(sample)
    else:
        return False
    bounds = pc.min_max(found.cast(pa.int64())).as_py()
    return wrong is None and bounds["min"] >= YEAR_2000_US and bounds["max"] < YEAR_2100_US


def _cast(texts: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Texts of the right shape to times; those that name no day (31 February) become null."""
    try:
        return pc.cast(texts, wanted)
    except pa.ArrowInvalid:
        each = texts.dictionary_encode()
        micros = [_micros(text) for text in each.dictionary.to_pylist()]
        return pa.array(micros, pa.int64()).cast(wanted).take(each.indices)


def _micros(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _from_digits(texts: pa.Array) -> pa.Array:
    fraction = pc.match_substring(texts, ".")
    long = pc.greater(pc.utf8_length(texts), 18)
    whole = pc.if_else(pc.or_(fraction, long), None, texts)
    parts = pc.if_else(pc.or_(fraction, long), texts, None)
    return pc.coalesce(from_epoch(pc.cast(whole, pa.int64()))[0], from_epoch(pc.cast(parts, pa.float64()))[0])


def _missing(given: pa.Array, found: pa.Array) -> Mask | None:
    wrong: Mask = pc.and_(pc.is_null(found), pc.is_valid(given)).to_numpy(zero_copy_only=False)
    return wrong if wrong.any() else None
