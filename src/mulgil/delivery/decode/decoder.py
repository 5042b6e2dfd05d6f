"""The decoder of a format. Called by the room's door."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from mulgil.delivery.decode.access_log import AccessLogDecoder
from mulgil.delivery.decode.alb import AlbDecoder
from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoder
from mulgil.delivery.decode.delimited import DelimitedDecoder
from mulgil.delivery.decode.error_log import ErrorLogDecoder
from mulgil.delivery.decode.json import JsonDecoder
from mulgil.delivery.decode.raw import RawDecoder
from mulgil.delivery.decode.regex import RegexDecoder
from mulgil.schema import Format


def decoder(
    format: Format,
    columns: pa.Schema,
    *,
    declared: Mapping[str, str],
    time: str | None,
    strict: bool,
    columns_max: int = 500,
) -> Decoder:
    """A decoder for records of one format into a table.

    `columns` is the table's present Arrow schema (empty for a new table; reserved columns in it are skipped);
    `declared` fixes types by column name (`schema.DECLARED_TYPES`); `time` names the column that is the time of the
    event and becomes timestamp[us, UTC]; `strict` allows no new columns; a table has at most `columns_max` columns,
    fields of structs counted. Raises Invalid for a format or a declaration that cannot work.
    """
    rules = Rules(columns, declared, time, strict, columns_max)
    match format.kind:
        case "json":
            return JsonDecoder(rules)
        case "combined" | "common":
            return AccessLogDecoder(format, rules)
        case "alb":
            return AlbDecoder(format, rules)
        case "nginx_error" | "apache_error":
            return ErrorLogDecoder(format, rules)
        case "csv" | "tsv":
            return DelimitedDecoder(format, rules)
        case "regex":
            return RegexDecoder(format, rules)
        case "raw":
            return RawDecoder(rules)
