"""How one delivery reads its records: in which format, to which columns, and which of them is the time."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

import mulgil.delivery.decode as decode
from mulgil.catalog import Catalog
from mulgil.delivery.decode import Decoded
from mulgil.delivery.settings import Target
from mulgil.record import Bad, Records
from mulgil.schema import INGESTED_AT, POSITION, RESCUED, SOURCE, Format

TIME_PROPERTY = "mulgil.time"
"""The table property that names the event-time column, once it was found."""


class Reading:
    """Columns and time of the table as they are now, growing with what is decoded."""

    def __init__(self, catalog: Catalog, target: Target) -> None:
        self._target = target
        table = catalog.find(target.table)
        self._columns = pa.schema([]) if table is None else table.arrow_schema
        self.time = target.time or (None if table is None else table.properties.get(TIME_PROPERTY))
        self._new = table is None
        self.fractions: set[str] = set()
        """Columns of whole numbers that fractions came for, unless their type is declared."""

    def decode(self, one_format: Format | None, records: Records) -> Decoded:
        """Columns of records of one format; later formats of one delivery fit the columns of earlier ones."""
        decoded = self._decode(one_format, records)
        if self._new and self.time is None and (found := decode.find_time(decoded.rows)) is not None:
            self.time = found
            decoded = self._decode(one_format, records)
        self.fractions |= {one.column for one in decoded.events if one.kind == "fraction"} - set(self._target.columns)
        if self._new and (missing := self._missing(decoded.rows)) and decoded.rows.num_rows:
            return _all_bad(
                decoded, f"the table does not exist yet, and is to be partitioned by {missing}: send it along"
            )
        if self._new and RESCUED not in decoded.rows.column_names:  # so that a query may name it from the first day on
            nothing = pa.nulls(decoded.rows.num_rows, pa.string())
            decoded = replace(decoded, rows=decoded.rows.append_column(RESCUED, nothing))
        self._new = self._new and not decoded.rows.num_rows
        grown = {field.name: field for field in (*self._columns, *decoded.rows.schema)}  # structs may have more fields
        self._columns = pa.schema([field.remove_metadata() for field in grown.values()])
        return decoded

    def _missing(self, rows: pa.Table) -> str | None:
        """A column that a new table has to be partitioned by, and that nobody has seen yet: its type is not known."""
        asked = (text.rstrip(") ").rpartition("(")[2].rpartition(",")[2].strip() for text in self._target.partition)
        have = {*rows.column_names, SOURCE, POSITION, INGESTED_AT, RESCUED}
        return next((name for name in asked if name.partition(".")[0] not in have), None)

    def _decode(self, one_format: Format | None, records: Records) -> Decoded:
        reserved = (SOURCE, POSITION, INGESTED_AT)
        columns = pa.schema([field.remove_metadata() for field in self._columns if field.name not in reserved])
        made = decode.decoder(
            one_format or self._target.format,
            columns,
            declared=self._target.columns,
            time=self.time,
            strict=self._target.strict,
        )
        return made.decode(records)


def _all_bad(decoded: Decoded, reason: str) -> Decoded:
    bad = [*decoded.bad, *(Bad(index, reason) for index in decoded.index.tolist())]
    return replace(
        decoded,
        rows=decoded.rows.slice(0, 0),
        index=decoded.index[:0],
        bad=sorted(bad, key=lambda one: one.index),
        rescued=0,
    )
