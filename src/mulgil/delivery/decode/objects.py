"""Which records may go to Arrow's JSON reader: those that look like one object and are not nested too deeply.

The reader recurses without a limit, so a record of ten thousand brackets would end the process. Called by `json.py`.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np
import numpy.typing as npt

from mulgil.delivery.decode.lines import Places, octets_of
from mulgil.record import Bad, Records

DEPTH_MAX = 32
"""Objects and lists inside each other; deeper records are bad. Table metadata nests three times as deep as its columns,
and Iceberg libraries read JSON of at most 128 levels: one deeper record would make the table unreadable for ever."""

STRIDE_BYTES = 1 << 18
"""The block is searched for brackets in strides that stay in the processor's cache."""

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_BRACES = (123, 125)
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)
_SYNTAX = msgspec.json.Decoder(dict[str, msgspec.Raw])


def objects(records: Records, index: Places) -> tuple[Records, Places, list[Bad]]:
    """The records that are `{…}` once spaces and a byte order mark are cut off; their indices; the others as bad."""
    octets = octets_of(records)
    starts, ends = records.starts, records.ends
    if len(starts) == 0:
        return records, index, []
    filled = ends > starts
    odd = ~filled
    odd[filled] = (octets[starts[filled]] != _BRACES[0]) | (octets[ends[filled] - 1] != _BRACES[1])
    bad: list[Bad] = []
    drop = []
    if odd.any():
        starts, ends = starts.copy(), ends.copy()
        for row in np.flatnonzero(odd).tolist():
            raw = records[row]
            body = raw.removeprefix(_BOM).lstrip(_SPACE)
            starts[row] = ends[row] - len(body)
            body = body.rstrip(_SPACE)
            ends[row] = starts[row] + len(body)
            if not (body.startswith(b"{") and body.endswith(b"}")):
                drop.append(row)
                bad.append(Bad(int(index[row]), syntax_error(body) or "not a JSON object"))
    trimmed = Records(records.data, starts, ends)
    for row in np.flatnonzero(_openings(octets, trimmed) > DEPTH_MAX).tolist():
        if _depth(trimmed[row]) > DEPTH_MAX:
            drop.append(row)
            bad.append(Bad(int(index[row]), f"nested deeper than {DEPTH_MAX} levels"))
    if not drop:
        return trimmed, index, bad
    stay = np.delete(np.arange(len(index)), drop)
    return trimmed.take(stay), index[stay], bad


def without_broken(records: Records, index: Places) -> tuple[Records, Places, list[Bad]]:
    """The records that are JSON, their indices, and the others as bad."""
    bad, drop = [], []
    for row in range(len(records)):
        reason = syntax_error(records[row])
        if reason is not None:
            drop.append(row)
            bad.append(Bad(int(index[row]), reason))
    if not drop:
        return records, index, bad
    stay = np.delete(np.arange(len(index)), drop)
    return records.take(stay), index[stay], bad


def syntax_error(line: bytes) -> str | None:
    """Why a line is not one JSON object; None when it is one."""
    try:
        _SYNTAX.decode(line)
    except msgspec.ValidationError:
        return "not a JSON object"
    except msgspec.DecodeError as error:
        words = str(error).removeprefix("JSON is malformed: ")
        return f"not JSON: {words[:1].lower()}{words[1:]}" if line else "not JSON: blank"
    return None


def _openings(octets: npt.NDArray[np.uint8], records: Records) -> npt.NDArray[np.int64]:
    """How many `{` and `[` each record holds, those in texts counted too: never less than its depth."""
    if len(records) == 0:
        return np.empty(0, dtype=np.int64)
    first, last = int(records.starts[0]), int(records.ends[-1])
    found = []
    for start in range(first, last, STRIDE_BYTES):
        piece = octets[start : min(start + STRIDE_BYTES, last)]
        found.append(np.flatnonzero((piece | 0x20) == _BRACES[0]) + start)
    places = np.concatenate(found)
    if len(places) <= DEPTH_MAX:
        return np.zeros(len(records), dtype=np.int64)
    return np.searchsorted(places, records.ends) - np.searchsorted(places, records.starts)


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for token in _TOKENS.findall(line):
        if token in (b"{", b"["):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"}", b"]"):
            depth -= 1
    return deepest
