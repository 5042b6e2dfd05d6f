"""Records that Arrow's JSON reader refuses, one by one, into records that it takes. Called by `json.py`.

What does not fit leaves the record for `_rescued`, as the text that the sender wrote; the rest stays as it was. This
is the only place where Python touches single records, and only those of pieces that failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa

from mulgil.delivery.decode.assemble import Kept
from mulgil.delivery.decode.columns import Columns, clash, is_list
from mulgil.delivery.decode.lines import Places
from mulgil.delivery.decode.objects import syntax_error
from mulgil.record import Bad, Records

EXACT_MAX = 2.0**53
"""Whole numbers from here on are not all floats."""

_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
_WORDS = {
    bool: "boolean",
    int: "whole number",
    float: "double",
    str: "string",
    dict: "object",
    list: "list",
}

_SINGLE = (bool, float, str)
_SINGLES: dict[str, type] = {"bool": bool, "double": float, "string": str, "large_string": str}

Fits = Callable[[Any], bool]

_decode = msgspec.json.Decoder().decode
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


class NoTypeError(Exception):
    """A value that no column type describes (a list of texts and numbers, a number beyond 64 bits)."""


class Rewriter:
    """One piece of a block. Its answer: `lines` with their record's `index`, `kept` values, `bad` records."""

    def __init__(self, columns: Columns, wires: dict[str, pa.DataType]) -> None:
        """`wires`: how columns with a fixed type are to be written; those written as times become texts here."""
        for name, kind in wires.items():
            if pa.types.is_timestamp(kind):
                wires[name] = pa.string()
        self._columns = columns
        self._wires = wires
        self._fits: dict[str, Fits] = {}
        self._plain: dict[str, type] = {}
        """Columns whose values fit exactly when they have this Python type."""
        self._conflicts: set[tuple[str, type]] = set()
        """Columns and Python types of single values that were found not to go together."""
        for name, kind in columns.types.items():
            self._learn(name, wires.get(name, kind))
        self.changed = False
        """Whether a column changed its type on the way, so that records before the change want another look."""
        self.lines: list[bytes] = []
        self.index: list[int] = []
        self.kept: Kept = {}
        self.bad: list[Bad] = []

    def rewrite(self, records: Records, index: Places) -> None:
        """Take every record in, in order."""
        known, plain = self._fits, self._plain.get
        for row, record in enumerate(index.tolist()):
            line = records[row]
            try:
                value = _decode(line)
            except msgspec.DecodeError as error:
                self.bad.append(Bad(record, syntax_error(line) or f"not readable: {error}"))
                continue
            odd = [
                name
                for name, one in value.items()
                if type(one) is not plain(name) and one is not None and not (name in known and known[name](one))
            ]
            if self._columns.rules.strict:
                odd += [name for name in value if name not in known and name not in odd]
            if odd:
                odd = [name for name in odd if not self._adapts(name, value[name])]
            if odd:
                # Decoding keeps the last of two equal keys: then the line has more colons than what was decoded.
                alike = line.count(b'":') == _encode(value).count(b'":')
                if not alike and (doubled := doubled_key(line)) is not None:
                    self.bad.append(Bad(record, f"the key {doubled!r} stands twice in one object"))
                    continue
                line = self._without(odd, line, value, record)
            self.lines.append(line)
            self.index.append(record)

    def _adapts(self, name: str, value: Any) -> bool:
        """Whether the value fits after all, once its column has been added, widened or given a field."""
        pair = (name, type(value))
        if name in self._wires or pair in self._conflicts:
            return False
        before = self._columns.types.get(name)
        try:
            found = infer(value)
        except NoTypeError:
            found = None
        else:
            found = self._columns.admit(name, found)
        if found is None:
            if type(value) in _SINGLE:
                self._conflicts.add(pair)
            return False
        if found != before:
            self.changed = self.changed or before is not None
            self._learn(name, found)
        return self._fits[name](value)

    def _learn(self, name: str, kind: pa.DataType) -> None:
        self._fits[name] = fits(kind)
        single = _SINGLES.get(str(kind))
        if single is not None:
            self._plain[name] = single
        else:
            self._plain.pop(name, None)
        self._conflicts = {pair for pair in self._conflicts if pair[0] != name}

    def _without(self, odd: list[str], line: bytes, value: dict[str, Any], record: int) -> bytes:
        raws = _raw(line)
        kept: dict[str, bytes] = {}
        for name in odd:
            raw, one = raws[name], value[name]
            if name in self._wires and pa.types.is_string(self._wires[name]) and type(one) in (int, float, bool):
                value[name] = bytes(raw).decode()
                continue
            kept[name] = bytes(raw)
            kind = self._columns.types.get(name)
            if kind is not None and (type(one) is dict or type(one) is list) and name not in self._wires:
                part = _pruned(one, kind)
                if self._fits[name](part):
                    value[name] = part
                    continue
            why = clash(infer(one), kind) if type(one) is float else "conflict"
            if why == "fraction" or name not in self._columns.why:
                stored = "" if kind is None else f" where {kind} is stored"
                self._columns.note(name, why, f"{_WORDS.get(type(one), 'null')}{stored}")
            del value[name]
        if kept:
            self.kept[record] = kept
        return _encode(value)


def fits(kind: pa.DataType) -> Fits:
    """A test whether a decoded JSON value, not null, is wholly stored by a column of this type."""
    if pa.types.is_boolean(kind):
        return lambda value: type(value) is bool
    if pa.types.is_integer(kind):
        low, high = -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1
        return lambda value: type(value) is int and low <= value <= high
    if pa.types.is_floating(kind):
        return lambda value: type(value) is float or (type(value) is int and _exact(value))
    if pa.types.is_struct(kind):
        fields = {one.name: fits(one.type) for one in kind}
        return lambda value: (
            type(value) is dict
            and all(one is None or (name in fields and fields[name](one)) for name, one in value.items())
        )
    if is_list(kind):
        item = fits(kind.value_type)
        return lambda value: type(value) is list and all(one is None or item(one) for one in value)
    return lambda value: type(value) is str


def infer(value: Any) -> pa.DataType:
    """The type that Arrow's reader would give a decoded JSON value. Raises NoTypeError where there is none."""
    if value is None:
        return pa.null()
    if type(value) is bool:
        return pa.bool_()
    if type(value) is int:
        if not _LONG_MIN <= value <= _LONG_MAX:
            raise NoTypeError
        return pa.int64()
    if type(value) is float:
        return pa.float64()
    if type(value) is dict:
        return pa.struct([(name, infer(one)) for name, one in value.items()])
    if type(value) is list:
        kind = pa.null()
        for one in value:
            kind = _common(kind, infer(one))
        return pa.list_(kind)
    return pa.string()


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {str(one), str(other)} == {"int64", "double"}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_common(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        kinds = {field.name: field.type for field in one}
        for field in other:
            kinds[field.name] = _common(kinds.get(field.name, pa.null()), field.type)
        return pa.struct(list(kinds.items()))
    raise NoTypeError


def _pruned(value: Any, kind: pa.DataType) -> Any:
    """The value without the fields that the type has no place for."""
    if type(value) is dict and pa.types.is_struct(kind):
        kinds = {one.name: one.type for one in kind}
        return {name: _pruned(one, kinds[name]) for name, one in value.items() if name in kinds}
    if type(value) is list and is_list(kind):
        return [_pruned(one, kind.value_type) for one in value]
    return value


def is_whole(text: bytes) -> bool:
    """Whether a JSON number is written without fraction and exponent."""
    return text.removeprefix(b"-").isdigit()


def _exact(value: int) -> bool:
    if -EXACT_MAX <= value <= EXACT_MAX:
        return True
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def doubled_key(line: bytes) -> str | None:
    """A key that stands twice in one object of the line, at any depth."""
    found: list[str] = []

    def pairs(members: list[tuple[str, object]]) -> None:
        names = [name for name, _ in members]
        if len(set(names)) < len(names):
            found.append(next(name for place, name in enumerate(names) if name in names[:place]))

    json.loads(line, object_pairs_hook=pairs)
    return found[0] if found else None
