"""Whole records inside a buffer: where the last one ends, where multi-line ones start, where NULs lie. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

NULS_MIN = 8
_NULS = re.compile(rb"^\0{8,}", re.MULTILINE)
"""What a power failure or a truncation under a writer that does not append leaves at the start of a line."""


class Cut(NamedTuple):
    """What of a buffer may be handed out."""

    end: int
    """Records lie in `buffer[place:end]`; nothing is whole where it equals `place`."""
    starts: npt.NDArray[np.int64] | None
    """Where multi-line records start, from `place`; None for lines."""


def cut_lines(buffer: bytes, place: int, last: bool) -> Cut:
    """Whole lines; with `last` the unended one at the end too."""
    return Cut(len(buffer) if last else max(place, buffer.rfind(b"\n", place) + 1), None)


def cut_multiline(buffer: bytes, place: int, pattern: re.Pattern[bytes], quiet: bool, last: bool) -> Cut:
    """Whole records that start with a line that matches. The last one is whole when nothing came for a while (`quiet`);
    with `last` so is an unended line at its end."""
    end = len(buffer) if last else max(place, buffer.rfind(b"\n", place) + 1)
    found = np.fromiter((one.start() for one in pattern.finditer(buffer, place, end)), dtype=np.int64) - place
    if not len(found) or found[0] != 0:
        found = np.concatenate((np.zeros(1, dtype=np.int64), found))  # lines before the first start: a record as well
    if quiet:
        return Cut(end, found)
    return Cut(place + int(found[-1]), found[:-1])


def split_between_lines(buffer: bytes, place: int) -> Cut:
    """A multi-line record that is too long ends after its last whole line."""
    end = buffer.rfind(b"\n", place) + 1
    return Cut(max(place, end), np.zeros(1, dtype=np.int64))


def nuls(buffer: bytes, place: int) -> tuple[int, int] | None:
    """The first run of NULs that starts a line: first and end index; None where there is none."""
    if buffer.find(b"\0", place) < 0:
        return None
    found = _NULS.match(buffer, place) or _NULS.search(buffer, place)
    return None if found is None else found.span()
