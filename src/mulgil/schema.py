"""How records are written down (`Format`) and what their columns are called where they land."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from mulgil.errors import Invalid

FormatKind = Literal["json", "csv", "tsv", "combined", "common", "nginx_error", "apache_error", "alb", "regex", "raw"]

SOURCE = "_source"
"""string: the source's name."""
POSITION = "_position"
"""long: part number << 40 | place; unique within its source."""
INGESTED_AT = "_ingested_at"
"""timestamptz: when the record was accepted."""
RESCUED = "_rescued"
"""string: JSON object of the keys that fit no column."""
RESERVED = (SOURCE, POSITION, INGESTED_AT, RESCUED)

DECLARED_TYPES = ("boolean", "int", "long", "float", "double", "string", "date", "timestamp", "timestamptz")
"""Type names a user may declare for a column (Iceberg's own names)."""


@dataclass(frozen=True, slots=True)
class Format:
    """How the bytes of one record are to be read."""

    kind: FormatKind = "json"
    """What the records are written in."""
    pattern: str = ""
    """regex: the expression (RE2 syntax) whose named groups become columns."""
    fields: tuple[str, ...] = ()
    """csv, tsv: the column names; empty: the first line of each file is the header. Access and error logs: other
    names for the columns, in the order of the format's own."""
    delimiter: str = ""
    """csv: the character between fields; empty: a comma (a tab for tsv)."""
    header: bool = False
    """csv, tsv: the first line of each file names the columns and is no record, also when `fields` renames them."""

    @classmethod
    def of(cls, value: dict[str, Any]) -> Format:
        """The inverse of `asdict`, for formats that travel as JSON."""
        known = {one.name for one in fields(cls)}
        if unknown := set(value) - known:
            raise Invalid(f"unknown format option {sorted(unknown)[0]!r}")
        if value.get("kind", "json") not in get_args(FormatKind):
            raise Invalid(f"unknown format {value.get('kind')!r}", hint=f"one of {', '.join(get_args(FormatKind))}")
        return cls(**{**value, "fields": tuple(value.get("fields", ()))})

    def as_dict(self) -> dict[str, Any]:
        """A JSON object, the defaults left out."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Format(), name)} | {
            "kind": self.kind
        }

    def as_text(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.as_dict(), separators=(",", ":"))
