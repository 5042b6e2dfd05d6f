"""Error logs of nginx and of Apache (2.4 and 2.2). Called through `decoder`.

    2026/11/22 10:00:00 [error] 123#45: *67 open() failed, client: 1.2.3.4, server: a, request: "GET /", host: "b"
    [Sun Nov 22 10:00:00.123456 2026] [core:error] [pid 1:tid 2] [client 1.2.3.4:55] AH00124: Request exceeded the limit

A message may go on over several lines. The logs name no time zone: times are read as UTC. Sources:
https://nginx.org/en/docs/ngx_core_module.html#error_log, https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.clf_time import MONTHS
from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.regex import extract
from mulgil.delivery.decode.text import fit
from mulgil.delivery.decode.times import TIME
from mulgil.errors import Invalid
from mulgil.record import Records
from mulgil.schema import Format

_NGINX = (
    r"(?s)^(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>\w+)\] (?P<pid>\d{1,18})#(?P<tid>\d{1,18}): "
    r"(?:\*(?P<connection>\d{1,18}) )?(?P<message>.*?)"
    r"(?:, client: (?P<client>[^,]*))?(?:, server: (?P<server>[^,]*))?"
    r'(?:, request: "(?P<request>[^"]*)")?(?:, subrequest: "(?P<subrequest>[^"]*)")?'
    r'(?:, upstream: "(?P<upstream>[^"]*)")?(?:, host: "(?P<host>[^"]*)")?(?:, referrer: "(?P<referrer>[^"]*)")?$'
)
_APACHE = (
    r"(?s)^\[(?P<time>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,6})? \d{4})\] "
    r"\[(?:(?P<module>[^:\]]*):)?(?P<level>[a-z0-9]+)\] "
    r"(?:\[pid (?P<pid>\d{1,18})(?::tid (?P<tid>\d{1,18}))?\] )?(?:(?P<source>[^\s\[]+\(\d+\)): )?"
    r"(?:\[client (?P<client>[^\]]*)\] )?(?:(?P<code>AH\d{5}): )?(?P<message>.*)$"
)
_PATTERNS = {"nginx_error": _NGINX, "apache_error": _APACHE}
_GROUP = re.compile(r"\?P<(\w+)>")
_KINDS = {"time": TIME, "pid": pa.int64(), "tid": pa.int64(), "connection": pa.int64()}
_APACHE_TIME = re.compile(r"\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))? (\d{4})", re.ASCII)


class ErrorLogDecoder:
    """Columns are the names in the patterns above, in their order; `fields` renames them."""

    def __init__(self, format: Format, rules: Rules) -> None:
        self._rules = rules
        self._pattern = _PATTERNS[format.kind]
        self._reason = f"not a line of {'an nginx' if format.kind == 'nginx_error' else 'an Apache'} error log"
        self._apache = format.kind == "apache_error"
        own = tuple(_GROUP.findall(self._pattern))
        if format.fields and len(format.fields) != len(own):
            raise Invalid(
                f"{len(format.fields)} names for the {len(own)} columns of {format.kind}",
                where="fields",
                hint=", ".join(own),
            )
        self._names = dict(zip(own, format.fields or own, strict=True))

    def decode(self, records: Records) -> Decoded:
        arrays, index, bad = extract(records, self._pattern, self._reason, keep_empty=("message",))
        if self._apache:
            each = arrays["time"].dictionary_encode()
            moments = pa.array([_apache_moment(text) for text in each.dictionary.to_pylist()], pa.string())
            arrays["time"] = moments.take(each.indices)
        else:
            arrays["time"] = pc.replace_substring(arrays["time"], "/", "-")
        kinds = {self._names[name]: kind for name, kind in _KINDS.items() if name in self._names}
        return fit([({self._names[name]: array for name, array in arrays.items()}, index)], bad, self._rules, kinds)


def _apache_moment(text: str) -> str:
    """`Sun Nov 22 10:00:00.123456 2026` in ISO 8601; as it is where it names no day."""
    match = _APACHE_TIME.fullmatch(text)
    if match is None or match[1] not in MONTHS:
        return text
    micros = int((match[6] or "").ljust(6, "0"))
    hour, minute, second = int(match[3]), int(match[4]), int(match[5])
    try:
        moment = datetime(int(match[7]), MONTHS[match[1]], int(match[2]), hour, minute, second, micros, tzinfo=UTC)
    except ValueError:
        return text
    return moment.isoformat()
