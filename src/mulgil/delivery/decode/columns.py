"""Which columns the rows of one block may have: the table's, the declared ones, and the new ones as they turn up.

`Rules` is what the user settled, `Columns` what one `decode` call may use; `lost` and `shape` fit arrays to its types.
Called by the decoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.decoded import EventKind, SchemaEvent
from mulgil.delivery.decode.lines import Mask
from mulgil.delivery.decode.times import TIME
from mulgil.errors import Invalid
from mulgil.schema import DECLARED_TYPES, RESERVED

_DECLARED = (pa.bool_(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.date32())
ARROW_TYPES: dict[str, pa.DataType] = dict(zip(DECLARED_TYPES, (*_DECLARED, pa.timestamp("us"), TIME), strict=True))
"""The types that a user may declare."""

NAME_CHARACTERS_MAX = 255
"""Longer keys are no column names."""

_RESERVED_FOLDED = frozenset(name.casefold() for name in RESERVED)


@dataclass(frozen=True)
class Rules:
    """What is settled about a table's columns, whatever the format."""

    columns: pa.Schema
    """The table's present columns."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Columns whose type the user fixed, as one of DECLARED_TYPES."""
    time: str | None = None
    """The column that is the time of the event."""
    strict: bool = False
    """No new columns; a record with anything that does not fit is bad."""
    columns_max: int = 500
    """At most so many columns, fields of structs counted."""

    def __post_init__(self) -> None:
        for name, kind in self.declared.items():
            if kind not in ARROW_TYPES:
                raise Invalid(
                    f"unknown type {kind!r}", where=f"columns.{name}", hint=f"one of {', '.join(DECLARED_TYPES)}"
                )
            if name.casefold() in _RESERVED_FOLDED:
                raise Invalid("this name is reserved", where=f"columns.{name}", hint="choose another name")


class Columns:
    """Types by name for one block; grows while the block is read."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.types: dict[str, pa.DataType] = {}
        self.new: set[str] = set()
        """Columns that the table does not have yet: their numbers may still widen."""
        self.parsed: set[str] = set()
        """Columns whose texts are read as their type: declared ones, the time, and types that JSON does not have."""
        self._paths: dict[str, str] = {}
        """Dotted paths of columns and their fields, case folded, to how they are spelt."""
        self._pending: dict[str, str] = {}
        self._events: dict[tuple[str, str], SchemaEvent] = {}
        self._key = ""
        self.why: dict[str, str] = {}
        """Why values of a key were rescued, for the reason of a bad record."""
        for one in rules.columns:
            if one.name not in RESERVED:
                self._settle(one.name, one.type)
        for name, kind in rules.declared.items():
            self._promise(name, ARROW_TYPES[kind])
        if rules.time is not None:
            self._promise(rules.time, TIME)
        for name, kind in self.types.items():
            if name in rules.declared or name == rules.time or not _is_json_type(kind):
                self.parsed.add(name)

    @property
    def events(self) -> list[SchemaEvent]:
        return list(self._events.values())

    @property
    def is_full(self) -> bool:
        """Whether no further column can be taken in."""
        return len(self._paths) >= self.rules.columns_max

    def has_room(self, names: Set[str]) -> bool:
        """Whether those of the names that are no columns yet can all become one, as far as their number goes."""
        return len(self._paths) + len(names - self.types.keys()) <= self.rules.columns_max

    def note(self, column: str, kind: EventKind, detail: str, key: str = "") -> None:
        """Keep an event, once per column and kind. `key` is the top-level key that it happened in."""
        self._events.setdefault((column, kind), SchemaEvent(column, kind, detail))
        if kind != "added":
            self.why[key or column] = detail

    def admit(self, name: str, found: pa.DataType) -> pa.DataType | None:
        """Take in what was found under a top-level name, as far as it can be stored.

        The answer is the type that the column then has, or None when the found type contradicts it or has no place at
        all. What is left out is for the caller to rescue (see `lost`).
        """
        self._key, self._pending = name, {}
        known = self.types.get(name)
        if self.rules.strict and known is None:
            self.note(name, "unknown", "not a column of this strict schema")
            return None
        kind = self._merge(name, known, found, name in self.new or known is None)
        if kind is None or kind == known:
            return kind
        self._paths.update(self._pending)
        self.types[name] = kind
        if known is None:
            self.new.add(name)
            self.note(name, "added", type_word(kind))
        return kind

    def _merge(
        self, path: str, known: pa.DataType | None, found: pa.DataType, new: bool, named: bool = True
    ) -> pa.DataType | None:
        """`named` is false for the items of a list, which have no name of their own."""
        if pa.types.is_null(found) or (known is not None and known.equals(found)):
            return known
        if known is None and named and not self._usable(path):
            return None
        if pa.types.is_struct(found) and (known is None or pa.types.is_struct(known)):
            return self._merge_struct(path, known, found, new, named)
        if is_list(found) and (known is None or is_list(known)):
            item = self._merge(
                f"{path}.element", None if known is None else known.value_type, found.value_type, new, named=False
            )
            if item is None:
                if known is None and pa.types.is_null(found.value_type):
                    self.note(path, "unstorable", "an empty list has no type yet", self._key)
                contradicts = known is not None and not pa.types.is_null(found.value_type)
                return None if contradicts else known
            return self._take(path, pa.list_(item), named) if known is None else _list_like(known, item)
        if known is None:
            return self._take(path, found, named)
        if pa.types.is_floating(known) and pa.types.is_integer(found):
            return known
        if new and pa.types.is_integer(known) and pa.types.is_floating(found):
            return pa.float64()
        self.note(path, clash(found, known), f"{type_word(found)} where {type_word(known)} is stored", self._key)
        return None

    def _merge_struct(
        self, path: str, known: pa.DataType | None, found: pa.DataType, new: bool, named: bool
    ) -> pa.DataType | None:
        fields = {} if known is None else {one.name: one for one in known}
        if known is None and named:
            self._pending[path.casefold()] = path
        for one in found:
            inner = f"{path}.{one.name}"
            has = fields[one.name].type if one.name in fields else None
            if self.rules.strict and has is None:
                self.note(inner, "unknown", "not a column of this strict schema", self._key)
                continue
            kind = self._merge(inner, has, one.type, new)
            if kind is None:
                if has is not None:
                    return None
                continue
            if has is None and known is not None:
                self.note(inner, "added", type_word(kind))
            fields[one.name] = pa.field(one.name, kind) if has is None else fields[one.name].with_type(kind)
        if not fields:
            self._pending.pop(path.casefold(), None)
            self.note(path, "unstorable", "an object without a field that can be stored", self._key)
            return None
        return pa.struct(list(fields.values()))

    def _take(self, path: str, kind: pa.DataType, named: bool) -> pa.DataType:
        if named:
            self._pending[path.casefold()] = path
        return kind

    def _usable(self, path: str) -> bool:
        folded = path.casefold()
        other = self._paths.get(folded) or self._pending.get(folded)
        if folded in _RESERVED_FOLDED:
            self.note(path, "reserved", "a name that Mulgil uses itself", self._key)
        elif not path.rsplit(".", 1)[-1] or "\0" in path or len(path) > NAME_CHARACTERS_MAX:
            self.note(path, "name", "not usable as a column name", self._key)
        elif other is not None:
            self.note(path, "case", f"differs only in case or dots from the column {other}", self._key)
        elif len(self._paths) + len(self._pending) >= self.rules.columns_max:
            self.note(
                "*", "overflow", f"more than {self.rules.columns_max} columns, for example {path[:80]}", self._key
            )
        else:
            return True
        return False

    def _promise(self, name: str, kind: pa.DataType) -> None:
        if name.casefold() not in self._paths:
            self._settle(name, kind)
            self.new.add(name)
            self.note(name, "added", type_word(kind))

    def _settle(self, name: str, kind: pa.DataType) -> None:
        self.types[name] = kind
        self._count(name, kind)

    def _count(self, path: str, kind: pa.DataType) -> None:
        self._paths[path.casefold()] = path
        while is_list(kind):
            path, kind = f"{path}.element", kind.value_type
        if pa.types.is_struct(kind):
            for one in kind:
                self._count(f"{path}.{one.name}", one.type)


def clash(found: pa.DataType, known: pa.DataType | None) -> EventKind:
    """Why a value of one type is not stored in a column of another."""
    fraction = known is not None and pa.types.is_integer(known) and pa.types.is_floating(found)
    return "fraction" if fraction else "conflict"


def type_word(kind: pa.DataType) -> str:
    """A type in the words of the table."""
    if pa.types.is_struct(kind):
        return "object"
    if is_list(kind):
        return "list"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    return {"int64": "long", "int32": "int", "bool": "boolean", "large_string": "string", "date32[day]": "date"}.get(
        str(kind), str(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Lists of 32-bit and of 64-bit offsets."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def lost(array: pa.Array, target: pa.DataType | None) -> Mask | None:
    """Rows that hold something that `target` has no place for; None: no row does."""
    if pa.types.is_null(array.type) or array.null_count == len(array):
        return None
    if target is None:
        return _some(array.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_struct(array.type):
        kinds = {one.name: one.type for one in target} if pa.types.is_struct(target) else {}
        masks = [lost(child, kinds.get(one.name)) for one, child in zip(array.type, array.flatten(), strict=True)]
        told = [mask for mask in masks if mask is not None]
        return np.logical_or.reduce(told) if told else None
    if is_list(array.type):
        inner = lost(array.flatten(), target.value_type if is_list(target) else None)
        if inner is None:
            return None
        mask = np.zeros(len(array), dtype=bool)
        mask[pc.list_parent_indices(array).to_numpy()[inner]] = True
        return mask
    if pa.types.is_integer(array.type) and pa.types.is_floating(target):
        return inexact(array, target)
    return None


def inexact(numbers: pa.Array, target: pa.DataType) -> Mask | None:
    """Which whole numbers a float of this type cannot say; None: it can say all."""
    values = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)
    floats = values.astype(target.to_pandas_dtype()).astype(np.float64)
    small = np.abs(floats) < 2.0**63
    return _some(~small | (np.where(small, floats, 0).astype(np.int64) != values))


def shape(array: pa.Array, target: pa.DataType) -> pa.Array:
    """The array as `target`: fields picked by name, missing ones null, numbers widened. Nothing else is converted."""
    if array.type.equals(target):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if pa.types.is_struct(target) and pa.types.is_struct(array.type):
        given = dict(zip([one.name for one in array.type], array.flatten(), strict=True))
        children = [
            shape(given[one.name], one.type) if one.name in given else pa.nulls(len(array), one.type) for one in target
        ]
        return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())
    if pa.types.is_list(target) and is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        items = shape(array.flatten(), target.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), items, type=target, mask=array.is_null())
    return pc.cast(array, target, safe=not pa.types.is_floating(target))


def _list_like(known: pa.DataType, item: pa.DataType) -> pa.DataType:
    one = known.value_field.with_type(item)
    return pa.large_list(one) if pa.types.is_large_list(known) else pa.list_(one)


def _is_json_type(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_json_type(one.type) for one in kind)
    if is_list(kind):
        return _is_json_type(kind.value_type)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(plain or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _some(mask: Mask) -> Mask | None:
    return mask if mask.any() else None
