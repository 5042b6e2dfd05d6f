"""From a name in SQL to a table of the lake. `engine.py` calls this."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from mulgil.errors import Invalid, Missing
from mulgil.query.statement import Reference, Statement

SYSTEM_DATABASES = ("information_schema", "pg_catalog")
_SYSTEM_NAMES = ("duckdb_", "pg_", "sqlite_", "pragma_")
_FILE_ENDINGS = (".csv", ".tsv", ".json", ".ndjson", ".jsonl", ".parquet", ".gz", ".zst", ".txt", ".xlsx")


class Names:
    """All tables that a statement may name, by `database.table`."""

    def __init__(self, known: Iterable[str], expected: Collection[str] = ()) -> None:
        """`expected` are tables that will be there once they have a row."""
        self.known = tuple(known)
        self._expected = expected
        self._by_full = {name.lower(): name for name in self.known}
        self._by_short: dict[str, list[str]] = {}
        for name in self.known:
            self._by_short.setdefault(name.partition(".")[2].lower(), []).append(name)

    def resolve(self, reference: Reference) -> str | None:
        """The table's full name; None where the name is DuckDB's own or a file's.

        Raises `Missing` with the nearest names, `Invalid` where several tables are called so.
        """
        if reference.database:
            found = self._by_full.get(f"{reference.database}.{reference.table}".lower())
            if found is None and reference.database.lower() not in SYSTEM_DATABASES:
                raise self._unknown(f"{reference.database}.{reference.table}")
            return found
        short = reference.table.lower()
        candidates = self._by_short.get(short, [])
        if len(candidates) > 1:
            raise Invalid(
                f"{reference.table} could be {_either(sorted(candidates))}", hint="write the database before the name"
            )
        if candidates:
            return candidates[0]
        if short in self._by_full:  # "bronze.web" in one pair of quotes
            raise Missing(
                f'there is no table "{reference.table}"', hint=f"write {self._by_full[short]} without the quotes"
            )
        if short.startswith(_SYSTEM_NAMES) or "/" in short or short.endswith(_FILE_ENDINGS):
            return None
        raise self._unknown(reference.table)

    def among(self, words: Iterable[str]) -> list[str]:
        """The tables that are certainly meant by some of these words."""
        low = {word.lower() for word in words}
        found = []
        for name in self.known:
            database, _, short = name.lower().partition(".")
            if short in low and (len(self._by_short[short]) == 1 or database in low):
                found.append(name)
        return found

    def _unknown(self, name: str) -> Missing:
        short = name.rpartition(".")[2].lower()
        for one in self._expected:
            if name.lower() in (one, one.partition(".")[2]):
                hint = "its first row makes it; `mulgil status` and `mulgil quarantine list` say where rows are"
                return Missing(f"there is no table {one} yet", hint=hint)
        near = difflib.get_close_matches(name.lower(), self._by_full, n=3, cutoff=0.7)
        shorts = difflib.get_close_matches(short, self._by_short, n=3, cutoff=0.7)
        meant = [self._by_full[one] for one in near] + [full for one in shorts for full in self._by_short[one]]
        meant = list(dict.fromkeys(meant))[:3]
        if meant:
            return Missing(f"there is no table {name}", hint=f"did you mean {_either(meant)}?")
        return Missing(
            f"there is no table {name}", hint="`mulgil tables` lists them" if self.known else "there is none"
        )


def asks_the_system(statement: Statement) -> bool:
    """Whether the statement lists tables or columns, so that all tables must be there."""
    return (
        statement.listing == "all"
        or any(
            one.database.lower() in SYSTEM_DATABASES
            or (not one.database and one.table.lower().startswith(_SYSTEM_NAMES))
            for one in statement.references
        )
        or any(name.startswith(("duckdb_tables", "duckdb_columns", "duckdb_views")) for name in statement.functions)
    )


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
