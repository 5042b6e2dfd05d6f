"""csv and tsv (RFC 4180 quoting, one record a line) to columns. Called through `decoder`.

Arrow's CSV reader splits whole blocks into texts; types are settled after that, column by column, so that one odd value
is rescued instead of failing its block. A column that the table does not have yet is taken as long when each value of
the block is a whole number without leading zeros, as double when each is a number, and as string otherwise; the user
can declare it. Nothing between two delimiters is null.
"""

from __future__ import annotations

import csv

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import Places, flat, joined, octets_of, split_utf8
from mulgil.delivery.decode.text import fit
from mulgil.errors import Invalid
from mulgil.record import Bad, Records
from mulgil.schema import Format

_QUOTE = 34
_LONG = r"^-?(0|[1-9]\d{0,17})$"
_DOUBLE = r"^-?(0|[1-9]\d{0,17})(\.\d{1,17})?([eE][+-]?\d{1,2})?$"

csv.field_size_limit(2**31 - 1)


class DelimitedDecoder:
    """`fields` names the columns; a header line is the source's business. Line ends inside a record become spaces."""

    def __init__(self, format: Format, rules: Rules) -> None:
        self._rules = rules
        self._names = list(format.fields)
        self._delimiter = format.delimiter or ("\t" if format.kind == "tsv" else ",")
        if not self._names:
            raise Invalid(f"{format.kind} needs the names of its fields", where="fields", hint="fields: [id, name, …]")
        if len(set(self._names)) < len(self._names):
            raise Invalid("two fields have one name", where="fields")
        if len(self._delimiter.encode()) != 1 or self._delimiter in '"\r\n':
            raise Invalid("the delimiter must be one ASCII character, no quote", where="delimiter")

    def decode(self, records: Records) -> Decoded:
        index, bad = split_utf8(records)
        good = flat(records.take(index) if bad else records)
        quotes = _quotes(good)
        for plain in (quotes % 2 == 0, quotes == 0):
            read = self._fast(good, np.flatnonzero(plain), index)
            if read is not None:
                break
        else:
            read = [], index[:0], []
        columns, rows, more = read
        found = [(dict(zip(self._names, columns, strict=True)), rows)] if columns else []
        if not plain.all():
            singly, rows, worse = self._singly(good, np.flatnonzero(~plain), index)
            found.append((dict(zip(self._names, singly, strict=True)), rows))
            more = more + worse
        return fit(found, bad + more, self._rules, self._kinds([arrays for arrays, _ in found]))

    def _fast(self, records: Records, places: Places, index: Places) -> tuple[list[pa.Array], Places, list[Bad]] | None:
        """Texts of these records by column; None where a quote has swallowed a line end: rows do not line up."""
        if len(places) == 0:
            return [], index[:0], []
        wrong: list[tuple[int, int]] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            wrong.append((row.number - 1, row.actual_columns))
            return "skip"

        buffer = joined(records.take(places) if len(places) < len(records) else records)
        unique = [str(place) for place in range(len(self._names))]
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(buffer),
                arrow_csv.ReadOptions(use_threads=False, block_size=buffer.size + 16, column_names=unique),
                arrow_csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=note, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(unique, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows + len(wrong) != len(places):
            return None
        rows = np.delete(places, [row for row, _ in wrong])
        bad = [self._miscounted(int(index[places[row]]), count) for row, count in wrong]
        return [pa.concat_arrays(column.chunks) for column in table.columns], index[rows], bad

    def _singly(self, records: Records, places: Places, index: Places) -> tuple[list[pa.Array], Places, list[Bad]]:
        """The same one by one, for records with an odd number of quotes."""
        values: list[list[str | None]] = []
        rows: list[int] = []
        bad = []
        for row in places.tolist():
            try:
                parsed = next(csv.reader([records[row].decode()], delimiter=self._delimiter, strict=True), [])
            except csv.Error as error:
                bad.append(Bad(int(index[row]), f"quotes do not fit together: {error}"))
                continue
            if len(parsed) != len(self._names):
                bad.append(self._miscounted(int(index[row]), len(parsed)))
                continue
            values.append([one or None for one in parsed])
            rows.append(row)
        columns = [pa.array([value[place] for value in values], pa.string()) for place in range(len(self._names))]
        return columns, index[np.array(rows, dtype=np.int64)], bad

    def _miscounted(self, record: int, count: int) -> Bad:
        return Bad(record, f"{count} {'field' if count == 1 else 'fields'} where {len(self._names)} were expected")

    def _kinds(self, parts: list[dict[str, pa.Array]]) -> dict[str, pa.DataType]:
        """Types for columns that the table does not have."""
        known = {*self._rules.columns.names, *self._rules.declared, self._rules.time}
        kinds = {}
        for name in self._names:
            arrays = [part[name] for part in parts]
            if name not in known and any(array.null_count < len(array) for array in arrays):
                for pattern, kind in ((_LONG, pa.int64()), (_DOUBLE, pa.float64())):
                    if all(_all_match(array, pattern) for array in arrays):
                        kinds[name] = kind
                        break
        return kinds


def _quotes(records: Records) -> Places:
    """How many quotes each record holds, int64[n]."""
    places = np.flatnonzero(octets_of(records) == _QUOTE)
    return np.searchsorted(places, records.ends) - np.searchsorted(places, records.starts)


def _all_match(array: pa.Array, pattern: str) -> bool:
    # Most columns of text show it in their first values.
    for some in (array.slice(0, 100), array):
        if not pc.all(pc.match_substring_regex(some, pattern), min_count=0).as_py():
            return False
    return True
