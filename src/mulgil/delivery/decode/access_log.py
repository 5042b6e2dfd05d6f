"""Access logs of Apache and nginx: `common` and `combined`. Called through `decoder`.

    host ident user [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "referer" "user agent" anything more

The fast path finds the quotes of all records at once and works on their places: the time lies at a fixed distance
before the first quote, the status at a fixed one after the second. No record can disturb another, because no state
goes from one to the next. Records with escaped quotes or an unusual shape go through a regular expression, one by one.
Texts stay as they were logged (`\\"`, `\\x22`); `-` is null.
Source: https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.clf_time import TIME_OCTETS, clf_times, moment
from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import Mask, Places, octets_of, split_utf8, strings
from mulgil.delivery.decode.request import split_requests
from mulgil.delivery.decode.text import fit
from mulgil.delivery.decode.times import TIME
from mulgil.errors import Invalid
from mulgil.record import Bad, Records
from mulgil.schema import Format

HEAD = ("remote_host", "ident", "user", "time")
TAIL = ("status", "bytes", "referer", "user_agent")
REQUEST = ("method", "path", "protocol")
"""Columns of `combined` are HEAD, REQUEST, TAIL; `common` ends with bytes. `extra` follows where lines go on."""

SIZE_DIGITS_MAX = 18

_QUOTE, _SPACE, _DASH, _BACKSLASH, _OPEN, _CLOSE, _ZERO = 34, 32, 45, 92, 91, 93, 48

_LINE = r"(\S+) (\S+) (.*?) \[([^\]]*)\] "
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PATTERNS = {
    kind: [re.compile(pattern, re.DOTALL) for pattern in patterns]
    for kind, patterns in {
        "common": (
            rf"{_LINE}{_QUOTED} (\d{{3}}) (\d{{1,18}}|-)()()(?: (.*))?",
            rf'{_LINE}"(.*)" (\d{{3}}) (\d{{1,18}}|-)()()(?: (.*))?',
        ),
        "combined": (
            rf"{_LINE}{_QUOTED} (\d{{3}}) (\d{{1,18}}|-) {_QUOTED} {_QUOTED}(?: (.*))?",
            rf'{_LINE}"(.*)" (\d{{3}}) (\d{{1,18}}|-) "(.*?)" "(.*)"()',
        ),
    }.items()
}
"""By kind: as the servers write it, then with quotes that a careless format left unescaped."""

Arrays = dict[str, pa.Array]
Octets = npt.NDArray[np.uint8]


class AccessLogDecoder:
    """See the module. `fields` may rename the columns. Where it has as many names as the log has fields, the request
    stays whole and the status is text, as Kinesis Agent's LOGTOJSON has it."""

    def __init__(self, format: Format, rules: Rules) -> None:
        self._rules = rules
        self._quotes = 6 if format.kind == "combined" else 2
        self._patterns = _PATTERNS[format.kind]
        tail = TAIL if format.kind == "combined" else TAIL[:2]
        split, whole = (*HEAD, *REQUEST, *tail), (*HEAD, "request", *tail)
        self._whole = len(format.fields) == len(whole)
        own = whole if self._whole else split
        if format.fields and len(format.fields) != len(own):
            raise Invalid(
                f"{len(format.fields)} names for the {len(split)} columns of {format.kind}",
                where="fields",
                hint=f"{', '.join(split)}; or {len(whole)} names, the request unsplit",
            )
        self._names = dict(zip(own, format.fields or own, strict=True)) | {"extra": "extra"}

    def decode(self, records: Records) -> Decoded:
        index, bad = split_utf8(records)
        good = records.take(index) if bad else records
        places, quotes = self._ordinary(good)
        arrays, fine = self._cut(good, places, quotes)
        if not fine.all():
            arrays = {name: array.filter(pa.array(fine)) for name, array in arrays.items()}
            places = places[fine]
        found = [(self._named(arrays), index[places])]
        if len(places) < len(good):
            others = np.setdiff1d(np.arange(len(good)), places, assume_unique=True)
            arrays, matched = self._matched(good, others, index, bad)
            found.append((self._named(arrays), matched))
        return fit(found, bad, self._rules)

    def _named(self, arrays: Arrays) -> Arrays:
        """Under the names of `fields`, the request split or not."""
        requests = arrays.pop("request")
        if self._whole:
            arrays["request"] = requests
            arrays["status"] = pc.cast(arrays["status"], pa.string())
        else:
            arrays |= dict(zip(REQUEST, split_requests(requests), strict=True))
        extra = arrays["extra"]
        names = [name for name in self._names if name != "extra" or extra.null_count < len(extra)]
        return {self._names[name]: arrays[name] for name in names}

    def _ordinary(self, records: Records) -> tuple[Places, npt.NDArray[np.int64]]:
        """The records that have the ordinary shape, and their quotes' places, int64[k, 2 or 6]."""
        starts, ends, octets = records.starts, records.ends, octets_of(records)
        quotes = np.flatnonzero(octets == _QUOTE)
        first = np.searchsorted(quotes, starts)
        rows = np.flatnonzero(np.searchsorted(quotes, ends) - first >= self._quotes)
        quotes = quotes[first[rows][:, None] + np.arange(self._quotes)]
        # Wide enough that every place looked at below lies inside the record.
        wide = (quotes[:, 0] - starts[rows] > TIME_OCTETS + 8) & (ends[rows] - quotes[:, 1] > 6)
        if not wide.all():
            rows, quotes = rows[wide], quotes[wide]
        opening, closing, end = quotes[:, 0], quotes[:, 1], ends[rows]
        fits = (octets[opening - 1] == _SPACE) & (octets[opening - 2] == _CLOSE)
        fits &= (octets[opening - TIME_OCTETS - 3] == _OPEN) & (octets[opening - TIME_OCTETS - 4] == _SPACE)
        fits &= (octets[closing + 1] == _SPACE) & (octets[closing + 5] == _SPACE)
        for step in (2, 3, 4):
            fits &= octets[closing + step] - _ZERO <= 9  # unsigned: anything below zero is large
        if self._quotes == 6:
            fits &= (octets[quotes[:, 2] - 1] == _SPACE) & (quotes[:, 2] - closing > 7)
            fits &= (quotes[:, 4] == quotes[:, 3] + 2) & (octets[quotes[:, 3] + 1] == _SPACE)
            last = quotes[:, 5] + 1
            fits &= (last == end) | (octets[np.minimum(last, len(octets) - 1)] == _SPACE)
        if (octets == _BACKSLASH).any():
            fits &= ~(octets[quotes - 1] == _BACKSLASH).any(axis=1)
        return (rows, quotes) if fits.all() else (rows[fits], quotes[fits])

    def _cut(self, records: Records, rows: Places, quotes: npt.NDArray[np.int64]) -> tuple[Arrays, Mask]:
        """The columns of ordinary records, and which of these fit after all."""
        data, octets = records.data, octets_of(records)
        starts, ends = records.starts[rows], records.ends[rows]
        opening, closing = quotes[:, 0], quotes[:, 1]
        arrays, fine = _head(data, octets, starts, opening - TIME_OCTETS - 4)
        arrays["time"] = clf_times(strings(data, opening - TIME_OCTETS - 2, opening - 2))
        fine &= arrays["time"].is_valid().to_numpy(zero_copy_only=False)
        arrays["request"] = strings(data, opening + 1, closing)
        digits = octets[closing[:, None] + np.arange(2, 5)].astype(np.int32) - _ZERO
        arrays["status"] = pa.array(digits @ np.array([100, 10, 1], dtype=np.int32))
        size = closing + 6
        if self._quotes == 6:
            stop, rest = quotes[:, 2] - 1, quotes[:, 5] + 2
            arrays["referer"] = _texts(data, octets, quotes[:, 2] + 1, quotes[:, 3])
            arrays["user_agent"] = _texts(data, octets, quotes[:, 4] + 1, quotes[:, 5])
        else:
            stop = size + _until_space(strings(data, size, ends))
            rest = stop + 1
        arrays["bytes"], numbers = _sizes(octets, size, stop)
        more = rest < ends
        if more.any():
            arrays["extra"] = strings(data, np.where(more, rest, ends), ends, ~more)
        else:
            arrays["extra"] = pa.nulls(len(rows), pa.string())
        return arrays, fine & numbers

    def _matched(self, records: Records, rows: Places, index: Places, bad: list[Bad]) -> tuple[Arrays, Places]:
        """The other records by the regular expressions; those that match none go to `bad`."""
        fields: list[list[object]] = [[] for _ in range(10)]
        places = []
        for row in rows.tolist():
            line = records[row].decode()
            match = next((hit for pattern in self._patterns if (hit := pattern.fullmatch(line)) is not None), None)
            when = None if match is None else moment(match[4])
            if match is None or when is None:
                reason = "not an access log line of this format" if match is None else f"not a time: {match[4][:40]!r}"
                bad.append(Bad(int(index[row]), reason))
                continue
            places.append(row)
            values: list[object] = [None if one in ("-", "", None) else one for one in match.groups()]
            values[3], values[5] = when, int(match[6])
            values[6] = None if match[7] == "-" else int(match[7])
            values[0], values[4] = match[1], match[5]
            for column, value in zip(fields, values, strict=True):
                column.append(value)
        names = (*HEAD, "request", *TAIL, "extra")
        kinds = {"time": TIME, "status": pa.int32(), "bytes": pa.int64()}
        arrays = {
            name: pa.array(column, kinds.get(name, pa.string())) for name, column in zip(names, fields, strict=True)
        }
        return arrays, index[np.array(places, dtype=np.int64)]


def _head(data: bytes, octets: Octets, starts: Places, ends: Places) -> tuple[Arrays, Mask]:
    """`host ident user`, and where there are three words; a user's name may hold spaces."""
    space = starts + _until_space(strings(data, starts, ends))
    fine: Mask = (space > starts) & (space + 4 <= ends)
    if not fine.all():
        space = np.where(fine, space, starts)
    known = np.flatnonzero(fine & ~((octets[space + 1] == _DASH) & (octets[space + 3] == _DASH) & (space + 4 == ends)))
    nothing = pa.nulls(len(starts), pa.string())
    arrays = {"remote_host": strings(data, starts, space), "ident": nothing, "user": nothing}
    if len(known):
        # ident and user are mostly dashes; the others are put in their places.
        second = space[known] + 1 + _until_space(strings(data, space[known] + 1, ends[known]))
        fine[known] &= (second > space[known] + 1) & (second + 1 < ends[known])
        second = np.minimum(second, ends[known] - 1)
        where = np.zeros(len(starts), dtype=bool)
        where[known] = True
        for name, low, high in (("ident", space[known] + 1, second), ("user", second + 1, ends[known])):
            arrays[name] = pc.replace_with_mask(nothing, pa.array(where), _texts(data, octets, low, high))
    return arrays, fine


def _until_space(texts: pa.Array) -> Places:
    """Length of each text's first word, int64[n]."""
    found: Places = pc.find_substring(texts, " ").to_numpy().astype(np.int64)
    if (found < 0).any():
        found = np.where(found < 0, pc.binary_length(texts).to_numpy(), found)
    return found


def _texts(data: bytes, octets: Octets, starts: Places, ends: Places) -> pa.Array:
    """string[n], null for `-` and for nothing."""
    length = ends - starts
    null = (length <= 0) | ((length == 1) & (octets[np.minimum(starts, len(octets) - 1)] == _DASH))
    return strings(data, starts, ends, null)


def _sizes(octets: Octets, starts: Places, ends: Places) -> tuple[pa.Array, Mask]:
    """int64[n], null for `-`; and where that is what stands there."""
    length = ends - starts
    dash = (length == 1) & (octets[np.minimum(starts, len(octets) - 1)] == _DASH)
    fine: Mask = (length > 0) & (length <= SIZE_DIGITS_MAX)
    values = np.zeros(len(starts), dtype=np.int64)
    for step in range(int(length[fine].max(initial=0))):
        here = fine & (length > step)
        digit = octets[np.where(here, starts + step, 0)] - _ZERO
        fine &= ~here | (digit <= 9) | dash
        values = np.where(here, values * 10 + digit, values)
    return pa.array(values, mask=dash | ~fine), fine
