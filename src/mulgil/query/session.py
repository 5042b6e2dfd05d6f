"""A place in DuckDB where one statement's tables lie, and nothing of another's. `engine.py` opens one for each.

With external access all sessions share one engine (its memory, its threads, its cache of Parquet footers): a database
in memory is attached for each and detached after it. Without, each has an engine of its own that may open the files of
the statement's tables and no others, and whose settings are locked.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from mulgil.query.scan import Scan
from mulgil.query.settings import QuerySettings
from mulgil.query.types import identifier, literal

HARMLESS = frozenset(
    (
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary"),
        *("pragma_version", "pragma_table_info", "duckdb_tables", "duckdb_columns", "duckdb_views", "duckdb_schemas"),
        *("duckdb_functions", "duckdb_types", "duckdb_keywords"),
    )
)
"""Table functions that reach nothing outside the statement's own tables."""
_LOCKED = ("SET enable_external_access = false", "SET lock_configuration = true")


@dataclass(frozen=True, slots=True)
class View:
    """A table under the name that the statement sees."""

    schema: str
    name: str
    content: Scan | pa.Table


class Session:
    """One statement's connection. Closing it twice is allowed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, attached: tuple[duckdb.DuckDBPyConnection, str] | None):
        self.connection = connection
        self._attached = attached
        self._guard = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Forget everything of it."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self.connection.close()
        if self._attached is not None:
            base, scratch = self._attached
            with contextlib.suppress(duckdb.FatalException):  # the engine broke down and took everything with it
                _run(base, f"DETACH {scratch}")
            base.close()


class Sessions:
    """Opens sessions. Safe to use from many threads."""

    def __init__(self, settings: QuerySettings) -> None:
        self._settings = settings
        self._base: duckdb.DuckDBPyConnection | None = None
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    @property
    def external_access(self) -> bool:
        """Whether statements may read files beside the lake."""
        return self._settings.external_access

    def base(self) -> duckdb.DuckDBPyConnection:
        """A new cursor of the shared engine, for parsing and for what is ours."""
        with self._guard:
            if self._base is None:
                self._base = self._engine()
                if not self.external_access:
                    _run(self._base, *_LOCKED)
            return self._base.cursor()

    def open(self, views: Sequence[View]) -> Session:
        """A session in which these are the tables. A bare name finds any of them."""
        if not self._settings.external_access:
            connection = self._engine()
            paths = [path for view in views if isinstance(view.content, Scan) for path in view.content.files]
            _run(connection, f"SET allowed_paths = [{', '.join(map(literal, paths))}]")
            _fill(connection, "memory", views)
            _run(connection, *_LOCKED)
            return Session(connection, None)
        base = self.base()
        cursor = base.cursor()
        if not views:
            return Session(cursor, None)
        scratch = f"lake_{next(self._numbers)}"
        _run(cursor, f"ATTACH ':memory:' AS {scratch}", f"USE {scratch}")
        session = Session(cursor, (base, scratch))
        try:
            _fill(cursor, scratch, views)
        except BaseException:
            session.close()
            raise
        return session

    def close(self) -> None:
        """Close the shared engine; the next session starts another one. Also for one that broke down: DuckDB refuses
        all work after an internal error."""
        with self._guard:
            if self._base is not None:
                self._base.close()
            self._base = None

    def _engine(self) -> duckdb.DuckDBPyConnection:
        settings = self._settings
        folder = settings.temporary_folder or str(Path(tempfile.gettempdir()) / f"mulgil-query-{os.getpid()}")
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",  # nothing is fetched from the network
            "autoload_known_extensions": "false",
            "temp_directory": folder,
        }
        if settings.threads:
            config["threads"] = settings.threads
        if settings.memory_bytes_max:
            config["memory_limit"] = f"{settings.memory_bytes_max}B"
        connection = duckdb.connect(":memory:", config=config)
        _run(
            connection,
            "SET TimeZone = 'UTC'",
            "SET python_enable_replacements = false",  # a name is never a variable of the caller's
            "SET parquet_metadata_cache = true",
            "SET enable_progress_bar = false",
        )
        return connection


def _fill(connection: duckdb.DuckDBPyConnection, database: str, views: Sequence[View]) -> None:
    schemas = list(dict.fromkeys(view.schema for view in views))
    _run(connection, *(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}" for schema in schemas))
    for number, view in enumerate(views):
        name = f"{identifier(view.schema)}.{identifier(view.name)}"
        if isinstance(view.content, Scan):
            for index, group in enumerate(view.content.groups):
                connection.execute(f"SET VARIABLE {_variable(number, index)} = ?", [list(group.files)]).fetchall()
            relation = view.content.relation(lambda index, number=number: _variable(number, index))  # type: ignore[misc]
            _run(connection, f"CREATE VIEW {name} AS {relation}")
        else:
            connection.register("handed_in", view.content)
            _run(connection, f"CREATE TABLE {name} AS FROM handed_in")
            connection.unregister("handed_in")
    if schemas:
        path = ",".join(f"{database}.{identifier(schema)}" for schema in schemas)
        _run(connection, f"SET search_path = {literal(path)}")


def _variable(view: int, group: int) -> str:
    return f"files_{view}_{group}"


def _run(connection: duckdb.DuckDBPyConnection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement).fetchall()
