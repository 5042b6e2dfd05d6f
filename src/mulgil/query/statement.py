"""What a statement says: which tables it names, and that it only asks. DuckDB's own parser is asked, through its JSON.

Regular expressions and foreign parsers disagree with the engine about what a name is (CTEs, lambdas, `FROM t SELECT`,
quotes), so the syntax tree comes from `json_serialize_sql`. `engine.py` calls this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from mulgil.errors import Invalid
from mulgil.query.failure import told
from mulgil.query.lexer import as_duckdb_writes_it, words

Node = dict[str, Any]

ASKING = {"SELECT", "EXPLAIN", "MULTI"}
"""DuckDB's statement types that change nothing; MULTI is what PIVOT without IN becomes."""
ASKING_WORDS = {"select", "from", "with", "(", "pivot", "pivot_wider", "values", "table", "describe", "desc", "show"}
ASKING_WORDS |= {"summarize", "unpivot", "explain"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A table as a statement names it."""

    database: str
    """Empty where the statement leaves it out."""
    table: str
    at: tuple[str, str] | None = None
    """(unit, SQL expression) of `AT (unit => expression)`: unit is VERSION or TIMESTAMP."""
    node: Node = field(default_factory=dict, compare=False)
    """Its place in the syntax tree."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that asks for something."""

    text: str
    """As it was written, to be run as it is."""
    references: tuple[Reference, ...] = ()
    functions: frozenset[str] = frozenset()
    """Table functions that it calls."""
    listing: str = ""
    """`tables` for SHOW TABLES, `databases` for SHOW DATABASES and SHOW SCHEMAS, `all` for SHOW ALL TABLES."""
    listing_of: str = ""
    """The database in SHOW TABLES FROM it."""
    words: frozenset[str] = frozenset()
    """Where the parser gives no tree (PIVOT without IN): every name in the text; some of them may be tables."""
    prefix: str = ""
    """`EXPLAIN …` before the tree's statement."""
    tree: Node | None = None


def statements(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[Statement]:
    """Cut a script into its statements. Raises `Invalid` for bad syntax and for what is not a question."""
    try:
        found = connection.extract_statements(as_duckdb_writes_it(sql))
    except duckdb.Error as error:
        raise told(error) from error
    if not found:
        raise Invalid("there is no SQL in it", hint="such as: SELECT count(*) FROM bronze.web")
    if any(not one.query for one in found):  # how DuckDB 1.5 takes PIVOT without IN apart
        if any(one.query for one in found):
            raise Invalid("PIVOT without IN must be the only statement", hint="write PIVOT … ON column IN (…)")
        return iter([_read(connection, sql.strip().removesuffix(";"), "MULTI")])
    return (_read(connection, one.query.strip().removesuffix(";"), one.type.name) for one in found)


def _read(connection: duckdb.DuckDBPyConnection, text: str, kind: str) -> Statement:
    spelled = words(text)
    body = _explained(spelled)
    first = spelled[body][1].lower() if body < len(spelled) else ""
    if kind not in ASKING or first not in ASKING_WORDS:
        verb = spelled[body][1].upper() if body < len(spelled) else kind
        raise Invalid(
            f"{verb} is not a question: SQL only reads here",
            hint="write a result with `mulgil sql --output FILE`; tables change through sources",
        )
    octets = text.encode()
    start = spelled[body][0]
    row = connection.execute("SELECT json_serialize_sql(?)", [octets[start:].decode()]).fetchall()[0]
    tree = json.loads(row[0])
    if tree["error"]:
        return Statement(text, words=frozenset(_unquoted(word) for _, word in spelled))
    tables: list[Reference] = []
    functions: set[str] = set()
    shown: list[Node] = []
    for statement in tree["statements"]:
        _walk(statement["node"], frozenset(), tables, functions, shown)
    listing, listing_of = _listing(shown)
    return Statement(
        text,
        tuple(_dated(connection, one) for one in tables),
        frozenset(functions),
        listing,
        listing_of,
        prefix=octets[:start].decode(),
        tree=tree,
    )


def moved(connection: duckdb.DuckDBPyConnection, statement: Statement, names: dict[int, tuple[str, str]]) -> str:
    """The statement's text with other tables in some places: index of a reference to (schema, view)."""
    if not names:
        return statement.text
    for index, (schema, view) in names.items():
        node = statement.references[index].node
        node["alias"] = node["alias"] or node["table_name"]
        node["schema_name"], node["table_name"], node["at_clause"] = schema, view, None
        node["qualified_name"] = {"path": [schema, view]}
    row = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(statement.tree)]).fetchall()[0]
    return statement.prefix + str(row[0])


def _explained(spelled: list[tuple[int, str]]) -> int:
    """Index of the first word after EXPLAIN [ANALYZE] [(options)]."""
    at = 0
    if spelled and spelled[0][1].lower() == "explain":
        at = 1
        if at < len(spelled) and spelled[at][1].lower() in ("analyze", "analyse"):
            at += 1
        if at + 1 < len(spelled) and spelled[at][1] == "(" and spelled[at + 1][1].lower() in ("format", "analyze"):
            while at < len(spelled) and spelled[at][1] != ")":
                at += 1
            at += 1
    return at


def _walk(node: Any, hidden: frozenset[str], tables: list[Reference], functions: set[str], shown: list[Node]) -> None:
    """Collect what is named; `hidden` are the names of the CTEs that are in sight."""
    if isinstance(node, list):
        for one in node:
            _walk(one, hidden, tables, functions, shown)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "BASE_TABLE":
        bare = not node.get("schema_name")
        if not (bare and node["table_name"].lower() in hidden) and not node.get("catalog_name"):
            tables.append(Reference(node.get("schema_name", ""), node["table_name"], node=node))
    elif kind == "TABLE_FUNCTION":
        functions.add(str(node["function"]["function_name"]).lower())
    elif kind == "SHOW_REF":
        shown.append(node)
    elif kind == "RECURSIVE_CTE_NODE":
        hidden = hidden | {str(node.get("cte_name", "")).lower()}
    for entry in (node.get("cte_map") or {}).get("map", ()):
        name = str(entry["key"]).lower()
        _walk(entry["value"], hidden, tables, functions, shown)
        hidden = hidden | {name}  # those after it see it, itself only when it is recursive
    for key, value in node.items():
        if key != "cte_map":
            _walk(value, hidden, tables, functions, shown)


def _dated(connection: duckdb.DuckDBPyConnection, reference: Reference) -> Reference:
    clause = reference.node.get("at_clause")
    if not clause:
        return reference
    select = {
        "error": False,
        "statements": [{"node": _SELECT | {"select_list": [clause["expr"]]}, "named_param_map": []}],
    }
    row = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(select)]).fetchall()[0]
    return Reference(reference.database, reference.table, (str(clause["unit"]).upper(), str(row[0])), reference.node)


def _listing(shown: list[Node]) -> tuple[str, str]:
    for node in shown:
        name = str(node.get("table_name", "")).strip('"').lower()
        if node.get("show_type") == "SHOW_FROM":
            return "tables", str(node.get("schema_name", ""))
        if node.get("show_type") in ("SHOW_SPECIAL", "SHOW_UNQUALIFIED") and not node.get("query"):
            known = {"tables": "tables", "databases": "databases", "schemas": "databases"}
            return known.get(name, "all"), ""
    return "", ""


def _unquoted(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word


_SELECT: Node = {
    "type": "SELECT_NODE",
    "modifiers": [],
    "cte_map": {"map": []},
    "from_table": {"type": "EMPTY", "alias": "", "sample": None, "query_location": 0, "query_location_length": 0},
    "where_clause": None,
    "group_expressions": [],
    "group_sets": [],
    "aggregate_handling": "STANDARD_HANDLING",
    "having": None,
    "sample": None,
    "qualify": None,
}
"""The tree of `SELECT …` without FROM."""
