"""Request lines of access logs, `GET /a?b=c HTTP/1.1`, into method, path and protocol. Called by the log decoders."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.lines import Places, strings

METHOD_LETTERS_MAX = 20

_SPACE, _A, _Z = 32, 65, 90


def split_requests(requests: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """method, path, protocol, string[n] each. What is not `METHOD path HTTP/version` stands whole in path, the other
    two null; `-` and nothing are null."""
    null = pc.fill_null(pc.is_in(requests, pa.array(["-", ""])), True).to_numpy(zero_copy_only=False)
    offsets = np.frombuffer(requests.buffers()[1], dtype=np.int32)[
        requests.offset : requests.offset + len(requests) + 1
    ]
    data = requests.buffers()[2] or pa.py_buffer(b"")
    octets = np.append(np.frombuffer(data, dtype=np.uint8), np.zeros(METHOD_LETTERS_MAX + 2, dtype=np.uint8))
    starts, ends = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    space = _first_space(octets, starts, ends)
    last = np.zeros(len(starts), dtype=np.int64)
    for version in (b" HTTP/1.1", b" HTTP/2.0", b" HTTP/1.0", b" HTTP/2", b" HTTP/3", b" HTTP/3.0", b" HTTP/0.9"):
        open_ = np.flatnonzero((last == 0) & (space > 0) & (ends - space > len(version) + 1))
        if len(open_) == 0:
            continue
        at = ends[open_] - len(version)
        same = np.ones(len(open_), dtype=bool)
        for step, code in enumerate(version):
            same &= octets[at + step] == code
        last[open_[same]] = at[same]
    whole = last == 0
    low, high = np.where(whole, starts, space + 1), np.where(whole, ends, last)
    method = strings(data, starts, np.where(whole, starts, space), whole)
    path = strings(data, low, high, null)
    protocol = strings(data, np.where(whole, ends, last + 1), ends, whole)
    return method, path, protocol


def _first_space(octets: npt.NDArray[np.uint8], starts: Places, ends: Places) -> Places:
    """Place of the space after a word of capitals, 0 where there is none."""
    found = np.zeros(len(starts), dtype=np.int64)
    open_ = np.arange(len(starts))
    for step in range(METHOD_LETTERS_MAX + 1):
        at = starts[open_] + step
        code = octets[at]
        inside = at < ends[open_]
        if step:
            hit = inside & (code == _SPACE)
            found[open_[hit]] = at[hit]
        open_ = open_[inside & (code >= _A) & (code <= _Z)]
        if len(open_) == 0:
            break
    return found
