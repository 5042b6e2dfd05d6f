"""Access logs of AWS Application Load Balancers. Called through `decoder`.

Space-separated, quoted where a value may hold spaces. Columns are named as in Athena's documented table, so that
queries move over. A line may have fewer of the later fields (older logs) or more (`extra`).
Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulgil.delivery.decode.columns import Rules
from mulgil.delivery.decode.decoded import Decoded
from mulgil.delivery.decode.lines import Mask, Places, octets_of, split_utf8, strings
from mulgil.delivery.decode.request import split_requests
from mulgil.delivery.decode.text import fit
from mulgil.delivery.decode.times import TIME
from mulgil.errors import Invalid
from mulgil.record import Bad, Records
from mulgil.schema import Format

FIELDS = (
    "type", "time", "elb", "client", "target", "request_processing_time", "target_processing_time",
    "response_processing_time", "elb_status_code", "target_status_code", "received_bytes", "sent_bytes", "request",
    "user_agent", "ssl_cipher", "ssl_protocol", "target_group_arn", "trace_id", "domain_name", "chosen_cert_arn",
    "matched_rule_priority", "request_creation_time", "actions_executed", "redirect_url", "lambda_error_reason",
    "target_port_list", "target_status_code_list", "classification", "classification_reason", "conn_trace_id",
)  # fmt: skip
"""The log's fields in order. Two hold an address and a port and become two columns, the request becomes three."""

FIELDS_MIN = 13
"""Up to the request: what every version of the log has."""

_SPLIT = {
    "client": ("client_ip", "client_port"),
    "target": ("target_ip", "target_port"),
    "request": ("request_verb", "request_url", "request_proto"),
}
COLUMNS = tuple(column for name in FIELDS for column in _SPLIT.get(name, (name,)))

_KINDS = (
    dict.fromkeys(("time", "request_creation_time"), TIME)
    | dict.fromkeys(("client_port", "target_port", "elb_status_code", "target_status_code"), pa.int32())
    | dict.fromkeys(("received_bytes", "sent_bytes"), pa.int64())
    | dict.fromkeys((name for name in FIELDS if name.endswith("processing_time")), pa.float64())
)
_QUOTE, _SPACE, _DASH, _BACKSLASH = 34, 32, 45, 92
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"(?=\s|$)|[^"\s]\S*', re.DOTALL)

Arrays = dict[str, pa.Array]


class AlbDecoder:
    """`fields` renames the columns, in the order of COLUMNS."""

    def __init__(self, format: Format, rules: Rules) -> None:
        self._rules = rules
        if format.fields and len(format.fields) != len(COLUMNS):
            raise Invalid(
                f"{len(format.fields)} names for the {len(COLUMNS)} columns of alb",
                where="fields",
                hint=", ".join(COLUMNS),
            )
        self._names = dict(zip(COLUMNS, format.fields or COLUMNS, strict=True)) | {"extra": "extra"}
        self._kinds = {self._names[name]: kind for name, kind in _KINDS.items()}

    def decode(self, records: Records) -> Decoded:
        index, bad = split_utf8(records)
        good = records.take(index) if bad else records
        found = []
        for rows, starts, ends in _tokens(good):
            if starts.shape[1] < FIELDS_MIN:
                reason = f"{starts.shape[1]} fields where at least {FIELDS_MIN} were expected"
                bad += [Bad(int(one), reason) for one in index[rows]]
            else:
                found.append((self._named(_columns(good, starts, ends)), index[rows]))
        return fit(found, bad, self._rules, self._kinds)

    def _named(self, arrays: Arrays) -> Arrays:
        return {self._names[name]: array for name, array in arrays.items()}


def _tokens(records: Records) -> list[tuple[Places, Places, Places]]:
    """The records by their number of fields: rows int64[k], and where each field starts and ends, int64[k, n]."""
    octets, starts, ends = octets_of(records), records.starts, records.ends
    quotes = np.flatnonzero(octets == _QUOTE)
    spaces = np.flatnonzero(octets == _SPACE)
    first = np.searchsorted(quotes, starts)
    count = np.searchsorted(quotes, ends) - first
    ordinary = count % 2 == 0
    if len(quotes) and (octets == _BACKSLASH).any():
        escaped = quotes[octets[np.maximum(quotes - 1, 0)] == _BACKSLASH]
        ordinary &= np.searchsorted(escaped, ends) == np.searchsorted(escaped, starts)
    record = np.searchsorted(starts, spaces, side="right") - 1
    inside = (record >= 0) & (spaces < ends[record]) if len(starts) else np.zeros(len(spaces), dtype=bool)
    spaces, record = spaces[inside], record[inside]
    between = (np.searchsorted(quotes, spaces) - first[record]) % 2 == 0
    between &= ordinary[record]
    spaces, record = spaces[between], record[between]
    fields = np.bincount(record, minlength=len(starts)) + 1
    found = []
    for number in np.unique(fields[ordinary]).tolist():
        rows = np.flatnonzero(ordinary & (fields == number))
        cuts = spaces[(fields == number)[record]].reshape(len(rows), number - 1)
        found.append((rows, np.column_stack((starts[rows], cuts + 1)), np.column_stack((cuts, ends[rows]))))
    return found + _tokens_singly(records, np.flatnonzero(~ordinary))


def _tokens_singly(records: Records, rows: Places) -> list[tuple[Places, Places, Places]]:
    """The same for records with escaped or unbalanced quotes."""
    found = []
    for row in rows.tolist():
        start = int(records.starts[row])
        spans = [match.span() for match in _TOKENS.finditer(records[row])]
        places = np.array(spans, dtype=np.int64).reshape(-1, 2) + start
        found.append((np.array([row]), places[:, 0][None, :], places[:, 1][None, :]))
    return found


def _columns(records: Records, starts: Places, ends: Places) -> Arrays:
    arrays: Arrays = {}
    for place, name in enumerate(FIELDS[: starts.shape[1]]):
        array = _texts(records, starts[:, place], ends[:, place])
        if name == "request":
            # A broken request is logged as "- http://host:80- -": it stays whole in request_url.
            arrays |= dict(zip(_SPLIT[name], split_requests(array), strict=True))
        elif name in _SPLIT:
            arrays |= dict(zip(_SPLIT[name], _address(array), strict=True))
        else:
            arrays[name] = array
    if starts.shape[1] > len(FIELDS):
        arrays["extra"] = strings(records.data, starts[:, len(FIELDS)], ends[:, -1])
    return arrays


def _address(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """`address:port` at its last colon; without one, all of it is the address."""
    parts = pc.extract_regex(texts, r"^(?P<address>.*):(?P<port>\d{1,5})$")
    address, port = parts.flatten()
    return pc.coalesce(address, texts), port


def _texts(records: Records, starts: Places, ends: Places) -> pa.Array:
    """string[n] without the quotes around them, null for `-` and for nothing."""
    octets = octets_of(records)
    edge = np.minimum(starts, len(octets) - 1)
    quoted: Mask = (ends - starts >= 2) & (octets[edge] == _QUOTE) & (octets[ends - 1] == _QUOTE)
    low, high = starts + quoted, ends - quoted
    null = (high <= low) | ((high - low == 1) & (octets[np.minimum(low, len(octets) - 1)] == _DASH))
    return strings(records.data, low, high, null)
