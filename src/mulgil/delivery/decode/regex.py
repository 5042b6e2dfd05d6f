"""Records by a regular expression whose named groups are the columns (RE2). Called through `decoder`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import Places, split_utf8, strings
from mulgil.delivery.decode.text import fit
from mulgil.errors import Invalid
from mulgil.record import Bad, Records
from mulgil.schema import Format

_GROUP = re.compile(r"\(\?P?<([A-Za-z_]\w*)>")


class RegexDecoder:
    """The expression is searched, so anchor it with ^ and $ to match whole records. Columns are strings unless the
    table or the user says otherwise; an empty group is null. Raises Invalid for an expression that cannot work."""

    def __init__(self, format: Format, rules: Rules) -> None:
        self._rules = rules
        self._pattern = _GROUP.sub(r"(?P<\1>", format.pattern)
        hint = "RE2 syntax; every group is named, (?P<name>…), or does not capture, (?:…)"
        names = _GROUP.findall(format.pattern)
        if not names:
            raise Invalid("the pattern has no named group", where="pattern", hint=hint)
        if len(set(names)) < len(names):
            raise Invalid("the pattern names a group twice", where="pattern", hint=hint)
        try:
            pc.extract_regex(pa.array([""]), self._pattern)
        except pa.ArrowInvalid as error:
            raise Invalid(f"the pattern does not work: {error}", where="pattern", hint=hint) from error

    def decode(self, records: Records) -> Decoded:
        arrays, index, bad = extract(records, self._pattern, "does not match the pattern")
        return fit([(arrays, index)], bad, self._rules)


def extract(
    records: Records, pattern: str, reason: str, keep_empty: Iterable[str] = ()
) -> tuple[dict[str, pa.Array], Places, list[Bad]]:
    """The pattern's groups in all records that match, string[k] each and null where empty; those records' indices; the
    others as bad."""
    index, bad = split_utf8(records)
    good = records.take(index) if bad else records
    found = pc.extract_regex(strings(good.data, good.starts, good.ends), pattern)
    hit = found.is_valid().to_numpy(zero_copy_only=False)
    if not hit.all():
        bad += [Bad(one, reason) for one in index[~hit].tolist()]
        found, index = found.filter(pa.array(hit)), index[hit]
    arrays = {}
    for one, array in zip(found.type, found.flatten(), strict=True):
        empty = pc.equal(pc.binary_length(array), 0)
        arrays[one.name] = array if one.name in keep_empty else pc.if_else(empty, None, array)
    return arrays, np.asarray(index, dtype=np.int64), bad
