"""Records as they are: one column, `line`. Called through `decoder`."""

from __future__ import annotations

from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import split_utf8, strings
from mulgil.delivery.decode.text import fit
from mulgil.record import Records


class RawDecoder:
    """A record that is not UTF-8 is bad: quarantine keeps its bytes, a replacement character would not."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def decode(self, records: Records) -> Decoded:
        index, bad = split_utf8(records)
        good = records.take(index) if bad else records
        return fit([({"line": strings(good.data, good.starts, good.ends)}, index)], bad, self._rules)
