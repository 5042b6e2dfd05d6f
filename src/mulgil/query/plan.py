"""From a statement to what DuckDB gets: names resolved, one consistent cut of all tables, their files.

`engine.py` calls it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mulgil.errors import Invalid, Missing, Retry
from mulgil.query.names import Names, asks_the_system
from mulgil.query.past import snapshot_at
from mulgil.query.scan import Scan, scan
from mulgil.query.session import HARMLESS, Sessions, View
from mulgil.query.statement import Statement, moved
from mulgil.query.tables import Tables
from mulgil.table import Table

SCANS_KEPT = 512
SCHEMAS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """All that running a statement needs."""

    text: str
    views: list[View]
    locations: dict[str, str | None]
    """Metadata file of each table: the same again means that nothing has changed."""

    @property
    def scans(self) -> list[Scan]:
        """The lake's tables among the views."""
        return [view.content for view in self.views if isinstance(view.content, Scan)]

    @property
    def files(self) -> frozenset[str]:
        """Every file that may be opened."""
        return frozenset(path for one in self.scans for path in one.files)


class Planner:
    """Plans statements; remembers what immutable metadata files said. Safe to use from many threads."""

    def __init__(
        self,
        catalog: Tables,
        relations: Mapping[str, Callable[[], pa.Table]],
        sessions: Sessions,
        expected: Collection[str] = (),
    ) -> None:
        self._catalog = catalog
        self._relations = relations
        self._expected = expected
        self._sessions = sessions
        self._scans: dict[tuple[str | None, int | None], Scan] = {}
        self._schemas: dict[str, pa.Schema] = {}
        self._guard = threading.Lock()

    def names(self) -> list[str]:
        """Everything that a statement may name, sorted."""
        return sorted({*self._catalog.names(), *self._relations})

    def plan(self, statement: Statement) -> Plan:
        """Raises `Missing` and `Invalid` for names, `Retry` where files were swept just now."""
        names = Names(self.names(), self._expected)
        self._check(statement)
        resolved = [names.resolve(one) for one in statement.references]
        wanted = {name for name in resolved if name is not None} | set(names.among(statement.words))
        if asks_the_system(statement):
            wanted |= set(names.known)
        loaded = self._catalog.load_all(sorted(wanted - set(self._relations)))
        views: list[View] = []
        moves: dict[int, tuple[str, str]] = {}
        present = {name for index, name in enumerate(resolved) if not statement.references[index].at}
        for name in sorted(wanted):
            database, _, short = name.partition(".")
            if name in self._relations:
                views.append(View(database, short, self._relations[name]()))
            elif name not in loaded:
                raise Missing(f"there is no table {name}", hint="it was dropped just now")
            elif name in present or name not in resolved:
                views.append(View(database, short, self._scan(loaded[name], None)))
        for index, reference in enumerate(statement.references):
            asked = resolved[index]
            if reference.at is None or asked is None:
                continue
            if asked not in loaded:
                raise Invalid(f"{asked} has no past", hint="only tables of the lake have snapshots")
            with self._sessions.base() as base:
                snapshot = snapshot_at(base, loaded[asked], reference.at)
            database, _, short = asked.partition(".")
            view = View(database, f"{short}@{snapshot}", self._scan(loaded[asked], snapshot))
            if view not in views:
                views.append(view)
            moves[index] = (view.schema, view.name)
        text = statement.text
        if moves:
            with self._sessions.base() as base:
                text = moved(base, statement, moves)
        return Plan(text, views, {name: table.metadata_location for name, table in loaded.items()})

    def _check(self, statement: Statement) -> None:
        if self._sessions.external_access:
            return
        if statement.tree is None:
            raise Invalid("PIVOT needs its values here", hint="write PIVOT … ON column IN (…)")
        if reaching := sorted(statement.functions - HARMLESS):
            raise Invalid(
                f"{reaching[0]}() may not be called here", hint="SQL reads the lake's tables and nothing else"
            )

    def _scan(self, table: Table, snapshot: int | None) -> Scan:
        key = (table.metadata_location, snapshot)
        with self._guard:
            found = self._scans.get(key)
        if found is None:
            try:
                found = scan(table if snapshot is None else table.at(snapshot), self._schema)
            except Missing as error:  # a manifest
                raise Retry(f"{table.name} was compacted while it was planned", hint="ask again") from error
            with self._guard:
                self._scans[key] = found
                while len(self._scans) > SCANS_KEPT:
                    self._scans.pop(next(iter(self._scans)))
        return found

    def _schema(self, path: str) -> pa.Schema:
        """The Arrow schema in a data file's footer. Raises `Retry` where the file has just been swept."""
        found = self._schemas.get(path)
        if found is None:
            try:
                found = pq.read_schema(path.removeprefix("file://"))
            except FileNotFoundError as error:
                raise Retry(
                    "files were compacted away while they were planned", where=path, hint="ask again"
                ) from error
            if len(self._schemas) >= SCHEMAS_KEPT:
                self._schemas.clear()
            self._schemas[path] = found
        return found
