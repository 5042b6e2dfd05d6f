"""The words of a SQL text, and the standard's way to ask for the past put into DuckDB's.

`FROM t FOR VERSION AS OF 7 x` and `FROM t FOR TIMESTAMP AS OF TIMESTAMP '…'` (Trino, Athena, Spark) become
`FROM t x AT (VERSION => 7)`, which DuckDB's parser knows; an alias behind `AT (…)` moves before it. Nothing else of the
text changes. `statement.py` calls this.
"""

from __future__ import annotations

import re

import duckdb

Word = tuple[int, str]
"""(offset in the UTF-8 text, the word)"""

_PAST = re.compile(r"\bAS\s+OF\b|\bAT\s*\(", re.IGNORECASE)
_NAME = re.compile(r'[A-Za-z_"\x80-\U0010ffff]')
_AFTER_TABLE = re.compile(
    "where|group|order|limit|offset|union|except|intersect|join|left|right|full|inner|outer|cross|natural|asof"
    "|positional|semi|anti|on|using|having|window|qualify|select|tablesample|sample|fetch|for|at|set"
)
"""Words that cannot be a table's alias."""
_UNITS = {"timestamp": "TIMESTAMP", "version": "VERSION", "system_time": "TIMESTAMP", "system_version": "VERSION"}


def words(sql: str) -> list[Word]:
    """The text's words without comments."""
    octets = sql.encode()
    tokens = duckdb.tokenize(sql)
    ends = [*(start for start, _ in tokens[1:]), len(octets)][: len(tokens)]
    return [
        (start, octets[start:end].decode().strip())
        for (start, kind), end in zip(tokens, ends, strict=True)
        if not str(kind).endswith("comment")
    ]


def as_duckdb_writes_it(sql: str) -> str:
    """The text with every question about the past in DuckDB's words."""
    if not _PAST.search(sql):
        return sql
    octets = sql.encode()
    spelled = words(sql)
    low = [word.lower() for _, word in spelled]
    parts: list[bytes] = []
    done = at = 0
    while at < len(spelled):
        found = _past(low, at)
        if found is None:
            at += 1
            continue
        unit, first, end, after = found
        clause = octets[spelled[first][0] : _offset(spelled, end, octets)].strip()
        after, alias = _alias(spelled, low, after, octets)
        parts.append(octets[done : spelled[at][0]])
        parts.append(alias + b"AT (" + unit.encode() + b" => " + clause + b") ")
        done = _offset(spelled, after, octets)
        at = after
    parts.append(octets[done:])
    return b"".join(parts).decode()


def _past(low: list[str], at: int) -> tuple[str, int, int, int] | None:
    """(unit, first word of the value, word behind the value, word behind the clause)"""
    if low[at] == "for" and low[at + 2 : at + 4] == ["as", "of"] and low[at + 1] in _UNITS:
        end = _value(low, at + 4)
        return _UNITS[low[at + 1]], at + 4, end, end
    if low[at] == "at" and low[at + 1 : at + 2] == ["("] and low[at + 2 : at + 3] and low[at + 2] in _UNITS:
        close = _closed(low, at + 1)
        first = at + 3
        while first < close and set(low[first]) <= set("=:>"):
            first += 1
        return _UNITS[low[at + 2]], first, close - 1, close
    return None


def _value(low: list[str], at: int) -> int:
    """The word behind a value: a literal, a call or a bracket, and others added to it or taken off."""
    while at < len(low):
        if low[at] == "-":
            at += 1
        elif low[at] == "(":
            at = _closed(low, at)
        elif at + 1 < len(low) and (low[at + 1].startswith("'") or low[at] == "interval"):
            interval = low[at] == "interval"  # TIMESTAMP '…', INTERVAL '1' DAY, INTERVAL 1 DAY
            at = _closed(low, at + 1) if low[at + 1] == "(" else at + 2
            if interval and at < len(low) and re.fullmatch(r"(second|minute|hour|day|week|month|year)s?", low[at]):
                at += 1
        elif at + 1 < len(low) and low[at + 1] == "(":
            at = _closed(low, at + 1)
        else:
            at += 1
        if low[at : at + 1] == ["::"]:
            at += 2
        if low[at : at + 1] not in (["+"], ["-"]):
            break
        at += 1
    return at


def _closed(low: list[str], at: int) -> int:
    """The word behind the bracket that opens at `at`."""
    depth = 0
    for index in range(at, len(low)):
        depth += {"(": 1, ")": -1}.get(low[index], 0)
        if depth == 0:
            return index + 1
    return len(low)


def _alias(spelled: list[Word], low: list[str], at: int, octets: bytes) -> tuple[int, bytes]:
    """(the word behind the alias, the alias)"""
    first = at
    if low[at : at + 1] == ["as"]:
        at += 1
    elif at >= len(low) or _AFTER_TABLE.fullmatch(low[at]) or not _NAME.match(low[at]):
        return at, b""
    at += 1
    if low[at : at + 1] == ["("]:
        at = _closed(low, at)
    return at, octets[spelled[first][0] : _offset(spelled, at, octets)].strip() + b" "


def _offset(spelled: list[Word], at: int, octets: bytes) -> int:
    return spelled[at][0] if at < len(spelled) else len(octets)
