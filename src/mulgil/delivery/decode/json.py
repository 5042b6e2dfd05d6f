"""JSON records to columns. Called through `decoder`.

The fast path hands whole blocks to Arrow's JSON reader with the table's types as an explicit schema; it is strict
about them, so a block that it reads fits the table. It fails as a whole, however. A block that fails is first freed
of records that are no JSON, then cut into pieces, and pieces that still fail are rewritten record by record
(`rewrite.py`) so that the same reader takes them. The result does not depend on who is whose neighbour, except that a
new column's type is the first one seen.

Why rows line up with records: every record starts with `{` and ends with `}`, so none lies over two lines and each
is at least one object; as many rows as records then means one object each.
"""

from __future__ import annotations

import re
from collections.abc import Set

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from mulgil.delivery.decode.assemble import Kept, Part, assemble
from mulgil.delivery.decode.columns import Columns, Rules, clash, is_list, lost, shape, type_word
from mulgil.delivery.decode.convert import convert
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.guessing import may_guess, ranges
from mulgil.delivery.decode.lines import Mask, joined, split_utf8
from mulgil.delivery.decode.objects import objects, without_broken
from mulgil.delivery.decode.rewrite import EXACT_MAX, Rewriter, doubled_key, is_whole
from mulgil.delivery.decode.times import TIME
from mulgil.record import Bad, Records

PIECES = 32
"""A block that fails is cut into so many pieces, and each that fails once again."""

SLOW_RECORDS = 1_000
"""Pieces of so many records are rewritten, not cut."""

SAMPLE_RECORDS = 16
"""Records that tell how a column with a fixed type is written (text or number)."""

READS_MAX = 3
"""Readings of a block while types of new columns are being settled; the first block of a table needs two."""

_ISO_TEXT = re.compile(rb'"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?"')
_NUMBER_STARTS = {bytes([code]) for code in b"-0123456789"}
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])

Places = npt.NDArray[np.int64]


class JsonDecoder:
    """One JSON object a record. See the module's docstring, and `rewrite` for what goes to `_rescued`."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def decode(self, records: Records) -> Decoded:
        columns = Columns(self._rules)
        utf8, bad = split_utf8(records)
        good, index, more = objects(records.take(utf8) if bad else records, utf8)
        run = _Run(good, index, columns)
        run.bad = bad + more
        run.all()
        return assemble(run.parts, columns, run.bad)


class _Run:
    """One block on its way."""

    def __init__(self, records: Records, index: Places, columns: Columns) -> None:
        self._records = records
        self._index = index
        self._sent, self._sent_index = records, index
        self._columns = columns
        self._wires = {
            name: _wire_of(columns.types[name], texts) for name, texts in self._sample(columns.parsed).items()
        }
        self._strange: dict[str, pa.DataType] = {}
        """Columns that hold nothing of their type here, and what they hold instead."""
        self._unknown = False
        """Whether keys came that are no columns, more than could be guessed at in one go."""
        self.parts: list[Part] = []
        self.bad: list[Bad] = []

    def all(self) -> None:
        """Fill `parts` and `bad`."""
        if len(self._records) == 0 or self._fast(self._records, self._index):
            return
        if self._texts_for_times() and self._fast(self._records, self._index):
            return
        if self._find_strange() and self._fast(self._records, self._index):
            return
        self._strange = {}
        self._records, self._index, broken = without_broken(self._records, self._index)
        self.bad += broken
        if not len(self._records) or (broken and self._fast(self._records, self._index)):
            return
        if not self._unknown:
            self._pieces(0, len(self._records), cuts=2)
            return
        for start, end in ranges(self._records):
            records, index = self._cut(start, end)
            if not self._fast(records, index):
                self._slow(records, index)

    def _pieces(self, low: int, high: int, cuts: int) -> None:
        size = max(-(-(high - low) // PIECES), min(SLOW_RECORDS, high - low))
        failed = 0
        for start in range(low, high, size):
            end = min(start + size, high)
            records, index = self._cut(start, end)
            # Three failures at the beginning: what fails is no exception but the rule, and trying costs time.
            hopeless = failed == 3 and start == low + 3 * size
            if not hopeless and self._fast(records, index):
                continue
            failed = 4 if hopeless else failed + 1
            if hopeless:
                for first in range(start, high, SLOW_RECORDS):
                    self._slow(*self._cut(first, min(first + SLOW_RECORDS, high)))
                return
            if cuts > 1 and end - start > SLOW_RECORDS:
                self._pieces(start, end, cuts - 1)
            else:
                self._slow(records, index)

    def _cut(self, start: int, end: int) -> tuple[Records, Places]:
        one = self._records
        return Records(one.data, one.starts[start:end], one.ends[start:end]), self._index[start:end]

    def _slow(self, records: Records, index: Places) -> None:
        rewriter = Rewriter(self._columns, self._wires)
        rewriter.rewrite(records, index)
        while rewriter.changed:
            rewriter = Rewriter(self._columns, self._wires)
            rewriter.rewrite(records, index)
        self.bad += rewriter.bad
        self._settle(rewriter.lines, np.array(rewriter.index, dtype=np.int64), rewriter.kept)

    def _settle(self, lines: list[bytes], index: Places, kept: Kept) -> None:
        """Rewritten lines to a part. What still fails has a key twice, or is kept out one by one."""
        if not lines or self._fast_lines(lines, index, kept):
            return
        if len(lines) > 1:
            doubled = [doubled_key(line) for line in lines]
            self.bad += [
                Bad(int(index[row]), f"the key {name!r} stands twice in one object")
                for row, name in enumerate(doubled)
                if name is not None
            ]
            stay = [row for row, name in enumerate(doubled) if name is None]
            if len(stay) < len(lines):
                self._settle([lines[row] for row in stay], index[stay], kept)
                return
            half = len(lines) // 2
            self._settle(lines[:half], index[:half], kept)
            self._settle(lines[half:], index[half:], kept)
            return
        name = doubled_key(lines[0])
        reason = "not readable as columns" if name is None else f"the key {name!r} stands twice in one object"
        self.bad.append(Bad(int(index[0]), reason))

    def _fast_lines(self, lines: list[bytes], index: Places, kept: Kept) -> bool:
        ends = np.cumsum([len(line) + 1 for line in lines])
        starts = np.concatenate(([0], ends[:-1]))
        return self._fast(Records(b"\n".join(lines), starts, ends - 1), index, kept)

    def _fast(self, records: Records, index: Places, kept: Kept | None = None) -> bool:
        """Read all of the records at once; nothing has changed when that fails. `kept`: they were rewritten."""
        read = self._read(records)
        if read is None or (kept is None and not (self._floats_are_plain(read) and self._strange_are_certain(read))):
            return False
        if kept is None and not self._columns.has_room(read.keys()):  # what overflows is rescued record by record
            return False
        part = Part(index, {})
        if kept:
            part.kept = {record: kept[record] for record in index.tolist() if record in kept}
        for name, array in read.items():
            found, gone = self._fitted(name, array, records if kept is None else None)
            if found is not None:
                part.columns[name] = found
            if gone is not None:
                part.keep(gone, name, [self._raw(record, name) for record in index[gone].tolist()])
        self.parts.append(part)
        return True

    def _raw(self, record: int, name: str) -> bytes:
        """What the sender wrote under a key, also where the record has been rewritten since."""
        return bytes(_RAW.decode(self._sent[int(np.searchsorted(self._sent_index, record))])[name])

    def _fitted(self, name: str, array: pa.Array, written: Records | None) -> tuple[pa.Array | None, Mask | None]:
        """A column that was read, as the table's type, and the rows whose value is to be rescued."""
        columns = self._columns
        if name in self._strange:
            detail = f"{type_word(self._strange[name])} where {type_word(columns.types[name])} is stored"
            columns.note(name, clash(self._strange[name], columns.types[name]), detail)
            return pa.nulls(len(array), columns.types[name]), lost(array, None)
        if name in columns.parsed:
            kind = columns.types[name]
            found, wrong = convert(array, kind)
            beyond = lost(array, kind)
            if wrong is not None:
                columns.note(name, "conflict", f"values that are no {type_word(kind)}")
            return found, _either(wrong, beyond)
        kind = columns.admit(name, array.type)
        if kind is None:
            has = columns.types.get(name)
            return None if has is None else pa.nulls(len(array), has), lost(array, None)
        gone = lost(array, kind)
        found = shape(array, kind)
        if written is not None and pa.types.is_floating(kind) and pa.types.is_floating(array.type):
            rounded = _rounded(found, name, written)
            if rounded is not None:
                columns.note(name, "conflict", "whole numbers that a double cannot say")
                return pc.if_else(pa.array(rounded), None, found), rounded
        return found, gone

    def _read(self, records: Records) -> dict[str, pa.Array] | None:
        """Arrow's reader on the records; None when it cannot, or when rows and records do not line up."""
        buffer = joined(records)
        types = {name: wire(kind) for name, kind in self._columns.types.items()} | self._wires | self._strange
        options = arrow_json.ReadOptions(use_threads=False, block_size=max(buffer.size + 1, 1 << 16))
        settled = self._columns.rules.strict or self._columns.is_full
        unexpected = "error" if settled or not may_guess(records) else "infer"
        for _ in range(READS_MAX):
            parse = arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior=unexpected
            )
            try:
                table = arrow_json.read_json(pa.BufferReader(buffer), options, parse)
            except pa.ArrowInvalid as error:
                self._unknown |= "unexpected field" in str(error)
                return None
            if table.num_rows != len(records):
                return None
            again = {
                one.name: _settled(one.type)
                for one in table.schema
                if one.name not in self._wires and one.type != types.get(one.name) and _is_unsettled(one.type)
            }
            if not again:
                return {name: _one(table.column(name)) for name in table.column_names}
            types |= again
        return None

    def _floats_are_plain(self, read: dict[str, pa.Array]) -> bool:
        """False when a float column holds NaN or infinity (no JSON), or may hold rounded whole numbers."""
        for name, array in read.items():
            single = pa.types.is_floating(array.type) and name in self._columns.types
            if not _plain(array, np.inf if single else EXACT_MAX):
                return False
        return True

    def _strange_are_certain(self, read: dict[str, pa.Array]) -> bool:
        """False when a column of whole numbers that now holds doubles may have got a whole one among them."""
        for name, kind in self._strange.items():
            if pa.types.is_floating(kind) and pa.types.is_integer(self._columns.types[name]):
                values = pc.fill_null(read[name], 0.5).to_numpy(zero_copy_only=False)
                if bool((values == np.floor(values)).any()):
                    return False
        return True

    def _sample(self, names: Set[str]) -> dict[str, list[bytes]]:
        """By column: JSON texts of the first records' values, nulls left out."""
        seen: dict[str, list[bytes]] = {name: [] for name in names}
        for row in range(min(SAMPLE_RECORDS, len(self._records)) if names else 0):
            try:
                raw = _RAW.decode(self._records[row])
            except msgspec.DecodeError:
                continue
            for name in names & raw.keys():
                if (text := bytes(raw[name])) != b"null":
                    seen[name].append(text)
        return seen

    def _find_strange(self) -> bool:
        """Look for single-valued columns whose type has changed for good, so that they can be rescued as a whole."""
        kinds = {
            name: kind
            for name, kind in self._columns.types.items()
            if name not in self._columns.parsed and not pa.types.is_nested(kind)
        }
        for name, texts in self._sample(kinds.keys()).items():
            has = _written(texts)
            if has is not None and _clashes(has, kinds[name]):
                self._strange[name] = has
        return bool(self._strange)

    def _texts_for_times(self) -> bool:
        """Read times as texts from now on; false when that is so already."""
        direct = [name for name, kind in self._wires.items() if kind == TIME]
        self._wires |= dict.fromkeys(direct, pa.string())
        return bool(direct)


def wire(kind: pa.DataType) -> pa.DataType:
    """The type under which Arrow's JSON reader reads a column of this type."""
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, wire(one.type)) for one in kind])
    if is_list(kind):
        return pa.list_(wire(kind.value_type))
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if plain else pa.string()


def _written(texts: list[bytes]) -> pa.DataType | None:
    """The one type that these JSON texts of single values have; None when they are mixed or there are none."""
    first = {text[:1] for text in texts}
    if not first or first & {b"{", b"["}:
        return None
    if first <= {b"t", b"f"}:
        return pa.bool_()
    if first <= _NUMBER_STARTS:
        return pa.int64() if all(is_whole(text) for text in texts) else pa.float64()
    return pa.string() if first == {b'"'} else None


def _clashes(has: pa.DataType, kind: pa.DataType) -> bool:
    """Whether no value written as `has` can be one of `kind`, but for whole doubles (see `_strange_are_certain`)."""
    if pa.types.is_integer(has):
        return not (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    if pa.types.is_floating(has):
        return not pa.types.is_floating(kind)
    return bool(has != wire(kind))


def _wire_of(kind: pa.DataType, texts: list[bytes]) -> pa.DataType:
    """How a column with a fixed type is written: times directly where that works, else what the texts are."""
    if pa.types.is_nested(kind):
        return wire(kind)
    if pa.types.is_timestamp(kind) and texts and all(_ISO_TEXT.fullmatch(text) for text in texts):
        return TIME
    return (_written(texts) or pa.string()) if texts else wire(kind)


def _is_unsettled(kind: pa.DataType) -> bool:
    """Whether a column of a type that the reader guessed must be read again with a settled type.

    It takes texts for times when all in the block look like it, and later free text would conflict. And a list of
    guessed type that begins with nulls comes out too short (pyarrow 26), while one of a given type is right.
    """
    if pa.types.is_struct(kind):
        return any(_is_unsettled(one.type) for one in kind)
    return bool(pa.types.is_temporal(kind) or (is_list(kind) and not pa.types.is_null(kind.value_type)))


def _settled(kind: pa.DataType) -> pa.DataType:
    """The type with texts in place of times."""
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_settled(one.type)) for one in kind])
    if is_list(kind):
        return pa.list_(kind.value_field.with_type(_settled(kind.value_type)))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _plain(array: pa.Array, size_max: float) -> bool:
    if pa.types.is_floating(array.type):
        size = np.abs(pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False))
        return bool((size < size_max).all())
    if pa.types.is_struct(array.type):
        return all(_plain(child, EXACT_MAX) for child in array.flatten())
    single = not is_list(array.type) or pa.types.is_null(array.type.value_type)
    return single or _plain(array.flatten(), EXACT_MAX)


def _rounded(array: pa.Array, name: str, records: Records) -> Mask | None:
    """Rows of a float column where the record has a whole number that a float cannot say."""
    large = np.flatnonzero(np.abs(pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)) >= EXACT_MAX)
    mask = np.zeros(len(array), dtype=bool)
    for row in large.tolist():
        text = bytes(_RAW.decode(records[row])[name])
        mask[row] = is_whole(text) and int(float(text)) != int(text)
    return mask if mask.any() else None


def _either(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _one(chunked: pa.ChunkedArray) -> pa.Array:
    return chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)
