"""The log formats of Kinesis Agent's LOGTOJSON: their fields and expressions. Used by `kinesis`.

Fields and what each group matches are those of awslabs/amazon-kinesis-agent, ApacheLogParser.java, SysLogParser.java.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from mulgil.errors import Invalid
from mulgil.schema import FormatKind

CSV_DELIMITERS = {"\\t": "\t", "\\|": "|", "\\,": ",", "\\;": ";", "[|]": "|", "\\s": " "}
"""Delimiters are regular expressions there; these mean one character."""


class LogFormat(NamedTuple):
    """One log format."""

    kind: FormatKind | None
    """our own format for it, if there is one"""
    fields: tuple[str, ...]
    pattern: str


@cache
def log_formats() -> dict[str, LogFormat]:
    """By their names in agent.json."""
    common = ("host", "ident", "authuser", "datetime", "request", "response", "bytes")
    apache = r'(\S+) (\S+) (\S+) \[([^\]]+)\] "([^"]+)" ([+-]?\d+|-) ([+-]?\d+|-)'
    syslog = r"(?:<\d+\.\d+> )?([a-zA-Z0-9._-]+) ([\w._/%-]+)(?:\[(\d+)\])?: (.*)"
    names = ("timestamp", "hostname", "program", "processid", "message")
    return {
        "COMMONAPACHELOG": LogFormat("common", common, rf"{apache}.*"),
        "COMBINEDAPACHELOG": LogFormat("combined", (*common, "referer", "agent"), rf'{apache} "([^"]+)" "([^"]+)".*'),
        "APACHEERRORLOG": LogFormat(
            "apache_error",
            ("timestamp", "module", "severity", "processid", "threadid", "client", "message"),
            r"\[([^\]]+)\] \[(?:(\w+):)?(\w+)\] \[pid (\d+)(?::tid (\d+))?\] \[client ([^\]]+)\] (.*)",
        ),
        "SYSLOG": LogFormat(None, names, rf"([A-Z][a-z]+\s+\d+\s+\d+:\d+:\d+(?:[:.,]\d+)?) {syslog}"),
        "RFC3339SYSLOG": LogFormat(None, names, rf"(\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*) {syslog}"),
    }


def named(pattern: str, names: tuple[str, ...]) -> str:
    """A Java expression as RE2 with named groups, matching whole records. Raises `Invalid` where that cannot be."""
    hint = "write it without"
    for wrong, what in (
        (r"(?<!\\)\(\?<?[=!]", "looks ahead or behind"),
        (r"(?<!\\)\(\?>", "has an atomic group"),
        (r"(?<!\\)[*+?}]\+", "has a possessive quantifier"),
        (r"(?<!\\)(?:\\\\)*\\[1-9]", "refers back to a group"),
    ):
        if re.search(wrong, pattern):
            raise Invalid(f"{what}, which RE2 does not know", hint=hint)
    pieces, group, at, in_class = [], 0, 0, False
    plain = re.sub(r"\(\?<([a-zA-Z]\w*)>", "(", pattern)
    while at < len(plain):
        char = plain[at]
        if char == "\\":
            pieces.append(plain[at : at + 2])
            at += 2
            continue
        if in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        elif char == "(" and plain[at + 1 : at + 2] != "?":
            if group < len(names):
                char = f"(?P<{column(names[group])}>"
            group += 1
        pieces.append(char)
        at += 1
    if group != len(names):
        raise Invalid(f"has {group} groups for {len(names)} names", hint="one name for each group")
    text = "".join(pieces)
    front = re.match(r"\(\?[a-zA-Z]+\)", text)
    flags = front.group() if front else ""
    found = f"{flags}^(?:{text[len(flags) :]})$"
    try:
        re.compile(found)
    except re.error as error:
        raise Invalid(f"is not a regular expression: {error}", hint="use what Java and RE2 write alike") from error
    return found


def column(name: str) -> str:
    """A field's name as a group may be called."""
    return re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", name))
