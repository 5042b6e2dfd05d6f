"""Blocks to rows: everything about a delivery that needs no table and changes nothing.

Called by the flow with what it polled. The answer holds the rows for the table, the rows for its quarantine, and what
the state must say once both are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mulgil.delivery import keys, ledger
from mulgil.delivery.culprit import decode_around
from mulgil.delivery.decode import Decoded
from mulgil.delivery.positions import Part
from mulgil.errors import Broken, Invalid
from mulgil.record import PLACE_BITS, Bad, Block, Mark, Records
from mulgil.schema import INGESTED_AT, POSITION, SOURCE, Format

Decode = Callable[[Format | None, Records], Decoded]
"""Decode records of a format (None: the source's own) to columns."""

PIECE_BYTES = 4 * 2**20
"""Decoders work on about so much at a time: it stays in the cache."""

TIMESTAMPTZ = pa.timestamp("us", "UTC")

QUARANTINE_SCHEMA = pa.schema(
    [
        (SOURCE, pa.string()),
        (POSITION, pa.int64()),
        (INGESTED_AT, TIMESTAMPTZ),
        ("reason", pa.string()),
        ("raw", pa.binary()),
        ("format", pa.string()),
        ("origin", pa.string()),
    ]
)
"""Columns of quarantine tables: `raw` is the record as it came, `format` a JSON object, `origin` a path or a host."""


@dataclass
class Prepared:
    """What one delivery brings."""

    rows: pa.Table | None
    """Decoded columns and `_source`, `_position`, `_ingested_at`; None: no row."""
    quarantine: pa.Table | None
    """Rows of `QUARANTINE_SCHEMA`; None: no row."""
    entries: dict[int, ledger.Entry]
    """Ledger entries by hour."""
    parts: dict[str, Part]
    """The parts' new state."""
    digests: list[bytes] = field(default_factory=list)
    """Idempotency keys that are used up now."""
    notices: list[str] = field(default_factory=list)
    """What the decoders want an operator to know (a type conflict, a full table)."""


@dataclass
class _Group:
    """Blocks of one format: their accepted records, with position, time and origin of each."""

    records: list[Records] = field(default_factory=list)
    positions: list[npt.NDArray[np.int64]] = field(default_factory=list)
    arrived: list[npt.NDArray[np.int64]] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    def pieces(self) -> Iterator[_Group]:
        """Small blocks put together, as decoders like them; a large one stays alone, so that nobody copies it."""
        piece, size = _Group(), 0
        for one in zip(self.records, self.positions, self.arrived, self.origins, strict=True):
            if piece.records and size + len(one[0].data) > PIECE_BYTES:
                yield piece
                piece, size = _Group(), 0
            piece.records.append(one[0])
            piece.positions.append(one[1])
            piece.arrived.append(one[2])
            piece.origins.append(one[3])
            size += len(one[0].data)
        if piece.records:
            yield piece


class Preparation:
    """One delivery in the making: add blocks, then `finish`."""

    def __init__(self, source: str, parts: Mapping[str, Part], known_keys: Callable[[Sequence[bytes]], set[bytes]]):
        self._source = source
        self._before = parts
        self._parts: dict[str, Part] = {}
        self._known_keys = known_keys
        self._entries: dict[int, ledger.Entry] = {}
        self._groups: dict[tuple[Format | None, str], _Group] = {}
        self._digests: set[bytes] = set()
        self._next_number = max((part.number for part in parts.values()), default=-1) + 1

    def add(self, blocks: Sequence[Block]) -> None:
        """Take blocks in, in the order in which the source gave them."""
        asked = [keys.digest(one.key) for block in blocks for one in block.keys]
        known = self._known_keys(asked) if asked else set()
        for block in blocks:
            self._add(block, known)

    def finish(self, decode: Decode, fresh: Callable[[pa.Table], npt.NDArray[np.bool_] | None]) -> Prepared:
        """Decode everything. `fresh` says which rows have an event id that is new; None: all."""
        tables: list[pa.Table] = []
        kept: list[pa.Table] = []
        notices: list[str] = []
        pieces = [(*key, piece) for key, group in self._groups.items() for piece in group.pieces()]
        for one_format, refused, group in pieces:
            records = _joined(group.records)
            positions, arrived = np.concatenate(group.positions), np.concatenate(group.arrived)
            decoded = _refused(records, refused) if refused else _decoded(decode, one_format, records)
            if len(decoded.index) + len(decoded.bad) != len(records):
                raise Broken(f"{len(records)} records became {len(decoded.index)} rows and {len(decoded.bad)} bad ones")
            notices += decoded.notices
            if decoded.bad:
                kept.append(self._kept_back(decoded, records, positions, arrived, one_format, group))
            if len(decoded.index):
                tables.append(
                    _with_origin(decoded.rows, self._source, positions[decoded.index], arrived[decoded.index])
                )
        rows = pa.concat_tables(tables, promote_options="permissive") if tables else None
        if rows is not None and (mask := fresh(rows)) is not None and not mask.all():
            self._count(_arrived_of(rows)[~mask], "deduplicated")
            rows = rows.filter(pa.array(mask))
        if rows is not None:
            self._count(_arrived_of(rows), "rows_out")
        return Prepared(
            rows if rows is not None and rows.num_rows else None,
            pa.concat_tables(kept) if kept else None,
            self._entries,
            self._parts,
            sorted(self._digests),
            list(dict.fromkeys(notices)),
        )

    def _add(self, block: Block, known: set[bytes]) -> None:
        entry = self._entry(block.arrived_us)
        part = self._part(block.part, block)
        if block.place >= part.place:  # else it was sent again, and counted before
            entry.bytes_unreadable += block.unreadable_bytes
        records = block.records
        if block.unit == "record":
            if block.place > part.place > 0 and not block.unreadable_bytes:
                raise Broken(
                    f"the records from {part.place} to {block.place} are missing, and nobody says why",
                    where=f"{self._source}/{block.part}",
                )
            places = np.arange(block.place, block.place + len(records), dtype=np.int64)
            if block.mark.place != block.place + len(records):
                raise Broken(
                    f"{len(records)} records lie where {block.mark.place - block.place} were accepted",
                    where=f"{self._source}/{block.part} at {block.place}",
                )
        else:
            places = block.place + records.starts
        accepted = places >= part.place
        entry.records_in += len(records)
        if block.unit == "byte":
            entry.bytes_skipped += max(0, block.place - part.place)
            entry.bytes_read += max(0, block.mark.place - max(part.place, block.place))
        else:
            entry.bytes_read += len(block.payload)
        for one in block.keys:
            digest = keys.digest(one.key)
            if digest in known or digest in self._digests:
                accepted[one.first : one.first + one.count] = False
            else:
                self._digests.add(digest)
        self._advance(block.mark, part)
        if block.stream_mark is not None:
            shard = self._part(block.stream_mark.part, block, unit="record")
            self._advance(block.stream_mark, shard)
        if not accepted.all():
            entry.deduplicated += int(len(records) - accepted.sum())
            index = np.flatnonzero(accepted)
            records, places = _only(records, index), places[index]
        if len(records):
            group = self._groups.setdefault((block.format, block.refused), _Group())
            group.records.append(records)
            group.positions.append((part.number << PLACE_BITS) | places)
            group.arrived.append(np.full(len(records), block.arrived_us, dtype=np.int64))
            group.origins.append(block.origin)

    def _part(self, name: str, block: Block, unit: str | None = None) -> Part:
        if name not in self._parts:
            before = self._before.get(name)
            if before is not None:
                self._parts[name] = Part(before.number, before.unit, before.place, before.detail)
            else:
                self._parts[name] = Part(self._next_number, "record" if unit == "record" else block.unit, 0)
                self._next_number += 1
        return self._parts[name]

    def _advance(self, mark: Mark, part: Part) -> None:
        if mark.place >= part.place:
            part.place, part.detail = mark.place, mark.detail

    def _kept_back(
        self,
        decoded: Decoded,
        records: Records,
        positions: npt.NDArray[np.int64],
        arrived: npt.NDArray[np.int64],
        one_format: Format | None,
        group: _Group,
    ) -> pa.Table:
        index = np.array([bad.index for bad in decoded.bad], dtype=np.int64)
        self._count(arrived[index], "quarantined")
        bounds = np.cumsum([len(records) for records in group.records])
        origins = [group.origins[block] for block in np.searchsorted(bounds, index, side="right")]
        declared = _format_text(one_format)
        return pa.table(
            [
                pa.repeat(pa.scalar(self._source), len(index)),
                positions[index],
                pa.array(arrived[index]).cast(TIMESTAMPTZ),
                [bad.reason for bad in decoded.bad],
                pa.array([records[one] for one in index], pa.binary()),
                pa.repeat(pa.scalar(declared, pa.string()), len(index)),
                pa.array(origins, pa.string()),
            ],
            schema=QUARANTINE_SCHEMA,
        )

    def _count(self, arrived: npt.NDArray[np.int64], what: str) -> None:
        hours, counts = np.unique(arrived // ledger.HOUR_US, return_counts=True)
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
            entry = self._entry(hour * ledger.HOUR_US)
            setattr(entry, what, getattr(entry, what) + count)

    def _entry(self, arrived_us: int) -> ledger.Entry:
        return self._entries.setdefault(arrived_us // ledger.HOUR_US * ledger.HOUR_US, ledger.Entry())


def _decoded(decode: Decode, one_format: Format | None, records: Records) -> Decoded:
    """A format that a sender declared and that cannot work makes its records bad, and stops nobody else's."""
    try:
        return decode_around(lambda some: decode(one_format, some), records, _between)
    except Invalid as error:
        if one_format is None:
            raise
        bad = [Bad(index, f"the format that the sender declared: {error.what}") for index in range(len(records))]
        return Decoded(pa.table({}), np.zeros(0, dtype=np.int64), bad, 0, [])


def _refused(records: Records, reason: str) -> Decoded:
    bad = [Bad(index, reason) for index in range(len(records))]
    return Decoded(pa.table({}), np.zeros(0, dtype=np.int64), bad, 0, [])


def _between(records: Records, first: int, last: int) -> Records:
    return _only(records, np.arange(first, last))


def _only(records: Records, index: npt.NDArray[np.int64]) -> Records:
    """Some of the records, in a buffer that holds no others (decoders read buffers whole). Copies run by run."""
    if not len(index):
        return Records(b"", index, index)
    breaks = np.flatnonzero(np.diff(index) != 1)
    firsts, lasts = index[np.append(0, breaks + 1)], index[np.append(breaks, len(index) - 1)]
    pieces = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        start, end = int(records.starts[first]), int(records.ends[last])
        run = slice(first, last + 1)
        pieces.append(Records(bytes(records.data[start:end]), records.starts[run] - start, records.ends[run] - start))
    return _joined(pieces)


def _joined(records: list[Records]) -> Records:
    """Records of many buffers in one, line by line."""
    if len(records) == 1:
        return records[0]
    lines = [one.data if one.data[-1:] == b"\n" else one.data + b"\n" for one in records]
    bases = np.concatenate(([0], np.cumsum([len(line) for line in lines])[:-1]))
    return Records(
        b"".join(lines),
        np.concatenate([one.starts + base for one, base in zip(records, bases, strict=True)]),
        np.concatenate([one.ends + base for one, base in zip(records, bases, strict=True)]),
    )


def _with_origin(
    rows: pa.Table, source: str, positions: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]
) -> pa.Table:
    rows = rows.append_column(SOURCE, pa.repeat(pa.scalar(source), rows.num_rows))
    rows = rows.append_column(POSITION, pa.array(positions))
    return rows.append_column(INGESTED_AT, pa.array(arrived).cast(TIMESTAMPTZ))


def _arrived_of(rows: pa.Table) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = rows.column(INGESTED_AT).cast(pa.int64()).to_numpy()
    return found


def _format_text(one_format: Format | None) -> str | None:
    return None if one_format is None else one_format.as_text()
