"""Records as Arrow strings, and which of them are UTF-8: vectorised over a block's buffer. Used by every decoder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mulgil.record import Bad, Records

NOT_UTF8 = "not UTF-8: the bytes are kept as they came"

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def octets_of(records: Records) -> npt.NDArray[np.uint8]:
    """The block's buffer as numbers, uint8[n]."""
    return np.frombuffer(records.data, dtype=np.uint8)


def strings(data: bytes, starts: Places, ends: Places, null: Mask | None = None) -> pa.Array:
    """string[k]: the slices `data[starts[i]:ends[i]]`, null where `null` says so.

    The slices must be ascending and must not overlap; the bytes must be UTF-8 (see `split_utf8`). One copy: the
    buffer is seen as slice, gap, slice, gap …, and every second piece is taken.
    """
    count = len(starts)
    if count == 0:
        return pa.array([], pa.string())
    offsets = np.empty(2 * count, dtype=np.int32)
    offsets[0::2] = starts
    offsets[1::2] = ends
    pieces = pa.Array.from_buffers(pa.string(), 2 * count - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    places = np.arange(0, 2 * count, 2, dtype=np.int32)
    return pieces.take(pa.array(places, mask=null) if null is not None and null.any() else pa.array(places))


def joined(records: Records) -> pa.Buffer:
    """The records' bytes, line ends between them; a view where they lie so already."""
    if len(records) == 0:
        return pa.py_buffer(b"")
    starts, ends = records.starts, records.ends
    gaps = starts[1:] - ends[:-1]
    if len(gaps) == 0 or (int(gaps.min()) > 0 and int(gaps.max()) <= 2):
        octets = octets_of(records)
        edges = np.concatenate([ends[:-1], starts[1:] - 1])
        if bool(((octets[edges] == 10) | (octets[edges] == 13)).all()):
            return pa.py_buffer(records.data)[int(starts[0]) : int(ends[-1])]
    return pa.py_buffer(b"\n".join([records[row] for row in range(len(records))]))


def flat(records: Records) -> Records:
    """The records with line ends inside them replaced by spaces; the same object where there are none."""
    if len(records) == 0:
        return records
    octets = octets_of(records)
    first, last = int(records.starts[0]), int(records.ends[-1])
    plain = not (octets[first:last] == 13).any()
    if plain and np.array_equal(np.flatnonzero(octets[first:last] == 10) + first, records.ends[:-1]):
        return records
    feeds = np.flatnonzero((octets == 10) | (octets == 13))
    record = np.searchsorted(records.starts, feeds, side="right") - 1
    inside = feeds[(record >= 0) & (feeds < records.ends[record])]
    if len(inside) == 0:
        return records
    changed = octets.copy()
    changed[inside] = 32
    return Records(changed.tobytes(), records.starts, records.ends)


def split_utf8(records: Records) -> tuple[Places, list[Bad]]:
    """Indices of the records that are UTF-8, int64[k], and the others as bad."""
    everything = np.arange(len(records), dtype=np.int64)
    if len(records) == 0 or is_utf8(records.data, int(records.starts[0]), int(records.ends[-1])):
        return everything, []
    octets = octets_of(records)
    high = np.flatnonzero(octets >= 0x80)
    holds = np.searchsorted(high, records.ends) > np.searchsorted(high, records.starts)
    bad = []
    for index in np.flatnonzero(holds).tolist():
        try:
            records[index].decode()
        except UnicodeDecodeError:
            bad.append(Bad(index, NOT_UTF8))
    return np.delete(everything, [one.index for one in bad]), bad


def is_utf8(data: bytes, start: int, end: int) -> bool:
    """Whether `data[start:end]` is UTF-8 from its first byte to its last."""
    offsets = pa.py_buffer(np.array([start, end], dtype=np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
