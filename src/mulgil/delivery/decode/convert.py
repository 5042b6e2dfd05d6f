"""Values to the type their column has: texts parsed, numbers read as times, whatever loses nothing. Vectorised.

Called for columns whose type the table or the user fixed while the format writes them in another way.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.columns import inexact
from mulgil.delivery.decode.lines import Mask
from mulgil.delivery.decode.times import from_epoch, in_known_years, parse_texts

_WHOLE = r"^[+-]?\d+$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_TRUE = pa.array(["true", "t", "1", "yes"])
_FALSE = pa.array(["false", "f", "0", "no"])


def convert(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """The array as `target`, null where a value does not fit; and which values those are (None: all fit)."""
    given = array.type
    if pa.types.is_null(given):
        return pa.nulls(len(array), target), None
    if pa.types.is_large_string(given) and not given.equals(target):
        return convert(pc.cast(array, pa.string()), target)
    if given.equals(target):
        found = array
    elif pa.types.is_string(given):
        found = _from_texts(array, target)
    elif pa.types.is_timestamp(target) and (pa.types.is_integer(given) or pa.types.is_floating(given)):
        found = pc.cast(from_epoch(array)[0], target, safe=False)
    elif pa.types.is_floating(target) and (pa.types.is_integer(given) or pa.types.is_floating(given)):
        found = _rounded(array, target)
    else:
        found = _cast(array, target)
    found = in_known_years(found)
    return found, missing(array, found)


def missing(given: pa.Array, found: pa.Array) -> Mask | None:
    """Which values were there and are no more; None: all are."""
    if found.null_count == given.null_count:
        return None
    wrong: Mask = pc.and_(pc.is_null(found), pc.is_valid(given)).to_numpy(zero_copy_only=False)
    return wrong if wrong.any() else None


def _from_texts(texts: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(target):
        return pc.cast(parse_texts(texts)[0], target, safe=False)
    if pa.types.is_large_string(target):
        return pc.cast(texts, target)
    tidy = pc.utf8_trim_whitespace(texts)
    if pa.types.is_boolean(target):
        low = pc.utf8_lower(tidy)
        yes, no = pc.is_in(low, _TRUE), pc.is_in(low, _FALSE)
        return pc.if_else(yes, True, pc.if_else(no, False, None))
    if pa.types.is_integer(target):
        return _guarded(tidy, target, _WHOLE)
    if pa.types.is_floating(target):
        return _guarded(tidy, target, _NUMBER)
    return _guarded(tidy, target, "")


def _guarded(texts: pa.Array, target: pa.DataType, pattern: str) -> pa.Array:
    """Cast all at once if that works; else those that match `pattern`; else one distinct text at a time."""
    for tidy in _tidied(texts, pattern):
        try:
            return _finite(pc.cast(tidy, target))
        except pa.ArrowInvalid:
            texts = tidy
    return _one_by_one(texts, target)


def _tidied(texts: pa.Array, pattern: str) -> Iterator[pa.Array]:
    yield texts
    if pattern:
        unsigned = pc.replace_substring_regex(texts, r"^\+", "")
        yield pc.if_else(pc.match_substring_regex(unsigned, pattern), unsigned, None)


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    try:
        return pc.cast(array, target)
    except pa.ArrowNotImplementedError:
        return pa.nulls(len(array), target)
    except pa.ArrowInvalid:
        return _one_by_one(array, target)


def _one_by_one(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Distinct values cast singly. Only columns with values out of range come here."""
    each = array.dictionary_encode()
    found = []
    for value in each.dictionary:
        try:
            found.append(_finite(pc.cast(pa.array([value.as_py()], array.type), target))[0].as_py())
        except pa.ArrowInvalid:
            found.append(None)
    return pa.array(found, target).take(each.indices)


def _rounded(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Numbers as floats; a whole number that a float cannot say becomes null, and what is too large for it."""
    found = pc.cast(array, target, safe=False)
    if not pa.types.is_integer(array.type):
        return _finite(found)
    wrong = inexact(array, target)
    return found if wrong is None else pc.if_else(pa.array(wrong), None, found)


def _finite(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type):
        return array
    finite = pc.is_finite(array)
    return array if pc.all(finite, min_count=0).as_py() else pc.if_else(finite, array, None)
