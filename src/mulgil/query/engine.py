"""SQL over the lake: names, one consistent cut, files, DuckDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

import duckdb
import pyarrow as pa

from mulgil.clock import Clock, SystemClock
from mulgil.errors import Broken, Invalid, Missing, MulgilError, Retry
from mulgil.query.failure import broke_down, told, vanished
from mulgil.query.plan import Plan, Planner
from mulgil.query.result import Result
from mulgil.query.scan import Scan
from mulgil.query.session import Session, Sessions
from mulgil.query.settings import QuerySettings
from mulgil.query.statement import Statement, statements
from mulgil.query.tables import Tables

BATCH_ROWS = 65_536
SIGNALS_LOOKED_AT_S = 0.2

ENGINE_ERRORS = (duckdb.Error, OSError, pa.ArrowException)
"""What DuckDB raises, and what Arrow makes of it while rows are read."""

T = TypeVar("T")


class Engine:
    """Answers SQL. Safe to use from many threads."""

    def __init__(
        self,
        catalog: Tables,
        *,
        relations: Mapping[str, Callable[[], pa.Table]] = MappingProxyType({}),
        expected: Collection[str] = (),
        settings: QuerySettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`relations` are tables that are computed when a statement names them, by `database.table`; `expected` are
        those that will be there once they have a row."""
        self._clock = clock or SystemClock()
        self._sessions = Sessions(settings or QuerySettings())
        self._planner = Planner(catalog, dict(relations), self._sessions, expected)

    def run(self, sql: str) -> Result:
        """Answer one statement; the first rows are there on return.

        Raises `Invalid` for what is wrong in the text (with the place), `Missing` for a table or file that is not
        there, `Overloaded` when it needs more memory than it may have, `Retry` when the lake moved under it twice.
        """
        with self._sessions.base() as base:
            found = list(statements(base, sql))
        if len(found) != 1:
            raise Invalid(f"these are {len(found)} statements", hint="run them one by one, or with run_all")
        return self._start(found[0])

    def run_all(self, sql: str) -> Iterator[Result]:
        """Answer the statements of a script one after the other, each on the lake as it is when its turn comes.

        Syntax is checked before the first one runs.
        """
        with self._sessions.base() as base:
            found = list(statements(base, sql))
        return (self._start(one) for one in found)

    def names(self) -> list[str]:
        """Everything that a statement may name, as `database.table`, sorted."""
        return self._planner.names()

    def close(self) -> None:
        """Give back memory and threads. Results that are not fully read break off."""
        self._sessions.close()

    def _start(self, statement: Statement) -> Result:
        started = self._clock.monotonic_s()
        if statement.listing in ("tables", "databases"):
            return self._listed(statement, started)
        try:
            plan = self._planner.plan(statement)
        except Retry:  # swept between reading the pointer and reading what it points to
            plan = self._planner.plan(statement)
        try:
            return self._execute(statement, plan, started)
        except ENGINE_ERRORS as error:
            if not vanished(error, plan.files):
                raise self._told(error) from error
        again = self._planner.plan(statement)  # swept between planning and reading: now on the newest snapshot
        try:
            return self._execute(statement, again, started)
        except ENGINE_ERRORS as error:
            lost = vanished(error, again.files)
            if not lost:
                raise self._told(error) from error
            if again.locations == plan.locations:
                raise Broken("a data file of the lake is not there", where=lost, hint="restore it") from error
            raise Retry("files were compacted away while they were read", hint="ask again") from error

    def _listed(self, statement: Statement, started: float) -> Result:
        """SHOW TABLES and SHOW DATABASES: of the lake, not of the engine."""
        names = [name.partition(".") for name in self.names()]
        if statement.listing == "databases":
            table = pa.table({"database": pa.array(sorted({one for one, _, _ in names}), pa.string())})
        else:
            of = statement.listing_of.lower()
            kept = [one for one in names if not of or one[0].lower() == of]
            if of and not kept:
                raise Missing(f"there is no database {statement.listing_of}", hint="SHOW DATABASES lists them")
            columns = {"database": [one for one, _, _ in kept], "table": [one for _, _, one in kept]}
            table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        return self._result(statement, [], table.to_batches(), None, table.schema, started)

    def _execute(self, statement: Statement, plan: Plan, started: float) -> Result:
        session = self._sessions.open(plan.views)
        try:
            try:
                relation = _interruptible(session, lambda: session.connection.sql(plan.text))
            except (duckdb.BinderException, duckdb.CatalogException):
                session.connection.execute(plan.text)  # says the same again, with the place in the text
                raise
            reader = _interruptible(session, lambda: relation.to_arrow_reader(BATCH_ROWS))
            batches = _batches(session, reader)
            first = list(islice(batches, 2))  # mistakes show themselves now, and a small answer is complete
            rest = self._later(batches, plan) if len(first) == 2 else None
            if rest is None:
                session.close()
            return self._result(statement, plan.scans, first, rest, reader.schema, started, session.close)
        except BaseException:
            session.close()
            raise

    def _result(
        self,
        statement: Statement,
        scans: Sequence[Scan],
        first: Iterable[pa.RecordBatch],
        rest: Iterator[pa.RecordBatch] | None,
        schema: pa.Schema,
        started: float,
        close: Callable[[], None] = lambda: None,
    ) -> Result:
        return Result(
            first,
            rest,
            schema,
            statement=statement.text,
            snapshots={scan.table: scan.snapshot_id for scan in scans},
            bytes_scanned=sum(scan.size_bytes for scan in scans),
            files_scanned=sum(len(scan.files) for scan in scans),
            clock_s=lambda: self._clock.monotonic_s() - started,
            close=close,
        )

    def _later(self, batches: Iterator[pa.RecordBatch], plan: Plan) -> Iterator[pa.RecordBatch]:
        """The same batches, with errors in our words: the first rows are out, so nothing can be done again."""
        try:
            yield from batches
        except ENGINE_ERRORS as error:
            if vanished(error, plan.files):
                raise Retry("files were compacted away while they were read", hint="ask again") from error
            raise self._told(error) from error

    def _told(self, error: Exception) -> MulgilError:
        if broke_down(error):
            self._sessions.close()  # DuckDB refuses all work now; the next statement gets a new engine
        return told(error)


def _batches(session: Session, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while (batch := _interruptible(session, lambda: next(reader, None))) is not None:
        yield batch


def _interruptible(session: Session, act: Callable[[], T]) -> T:
    """Do it so that Ctrl-C stops the engine: the interpreter looks at signals in its main thread alone, and there only
    between two steps of Python's own."""
    if threading.current_thread() is not threading.main_thread():
        return act()
    done: list[T] = []
    failed: list[BaseException] = []
    ended = threading.Event()  # not Thread.join: interrupted, Python 3.11 takes the thread for stopped

    def work() -> None:
        try:
            done.append(act())
        except BaseException as error:  # noqa: BLE001 (handed to the caller as it is)
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="query", daemon=True).start()
    try:
        while not ended.wait(SIGNALS_LOOKED_AT_S):
            pass
    except KeyboardInterrupt:
        session.connection.interrupt()
        ended.wait()
        raise
    if failed:
        raise failed[0]
    return done[0]
