"""What a statement answered: columns that come as they are computed, or all at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from mulgil.errors import Invalid, Missing

if TYPE_CHECKING:
    import pandas
    import polars


class Result:
    """The answer to one statement. Used by one thread.

    Small answers are complete when they are handed out; of large ones the first rows are, and the rest is computed
    while `batches()` is read, so that an answer larger than memory can be written to a file.
    """

    def __init__(
        self,
        first: Iterable[pa.RecordBatch],
        rest: Iterator[pa.RecordBatch] | None,
        schema: pa.Schema,
        *,
        statement: str,
        snapshots: Mapping[str, int | None],
        bytes_scanned: int,
        files_scanned: int,
        clock_s: Callable[[], float],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """`rest` computes what follows the `first` batches; None: nothing does. `clock_s()` tells for how many seconds
        the statement has been running."""
        self.statement = statement
        self.schema = shown(schema)
        """Arrow's schema; instants are in UTC."""
        self.snapshots = dict(snapshots)
        """Which snapshot of each table was read: `database.table` to snapshot id; None for a table without any."""
        self.bytes_scanned = bytes_scanned
        """Sum of the sizes of the files that were handed to the engine: the most that it can have read."""
        self.files_scanned = files_scanned
        self.elapsed_s = clock_s()
        """Seconds from the statement to the last batch that came so far."""
        self._rest = rest
        self._clock_s = clock_s
        self._close = close
        self._first = [self._in_shape(batch) for batch in first]
        self._table: pa.Table | None = None
        self._streamed = False
        self._count: int = sum(batch.num_rows for batch in self._first)
        self._ended = rest is None

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return list(self.schema.names)

    @property
    def rows(self) -> int:
        """How many rows there are; computes them all when they have not been yet."""
        if not self._ended:
            self.arrow()
        return self._count

    def arrow(self) -> pa.Table:
        """All rows as an Arrow table, kept for the next call."""
        if self._table is None:
            self._table = pa.Table.from_batches(list(self._stream()), self.schema)
        return self._table

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come, once; after `arrow()` as often as one likes."""
        if self._table is not None:
            return iter(self._table.to_batches())
        return self._stream()

    def reader(self) -> pa.RecordBatchReader:
        """`batches()` for whoever takes Arrow streams: Parquet writers, Polars, DuckDB."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def polars(self) -> polars.DataFrame:
        """All rows as a Polars frame. Raises `Missing` where Polars is not installed."""
        return cast("polars.DataFrame", _library("polars").from_arrow(self.arrow()))

    def pandas(self) -> pandas.DataFrame:
        """All rows as a pandas frame; sums of whole numbers as int64 where they fit. Raises `Missing` where pandas is
        not installed."""
        _library("pandas")
        return cast("pandas.DataFrame", _narrowed(self.arrow()).to_pandas())

    def close(self) -> None:
        """Stop computing and give back what is held. Rows that were not computed are gone."""
        self._ended = True
        self._close()

    def __enter__(self) -> Result:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self.close()

    def __repr__(self) -> str:
        count = f"{self._count} rows" if self._ended else "rows still coming"
        return f"<Result: {count}, {len(self.schema)} columns, {self.elapsed_s:.3f} s>"

    def _stream(self) -> Iterator[pa.RecordBatch]:
        if self._streamed:
            raise Invalid("these rows were already read", hint="keep what arrow() returns, or run the query again")
        self._streamed = True
        return self._all()

    def _all(self) -> Iterator[pa.RecordBatch]:
        while self._first:
            yield self._first.pop(0)
        while not self._ended:
            batch = next(self._rest, None) if self._rest is not None else None
            self.elapsed_s = self._clock_s()
            if batch is None:
                self.close()
                return
            self._count += batch.num_rows
            yield self._in_shape(batch)

    def _in_shape(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch if batch.schema == self.schema else batch.cast(self.schema)


def shown(schema: pa.Schema) -> pa.Schema:
    """The schema with every instant in UTC."""
    return pa.schema([one.with_type(_in_utc(one.type)) for one in schema])


def _in_utc(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_in_utc(one.type)) for one in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_utc(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(_in_utc(kind.key_type)), kind.item_field.with_type(_in_utc(kind.item_type))
        )
    return kind


def _narrowed(table: pa.Table) -> pa.Table:
    """DuckDB adds whole numbers in 128 bits, which Arrow calls decimal(38, 0) and pandas a column of objects."""
    for index, one in enumerate(table.schema):
        if one.type == pa.decimal128(38, 0):
            try:
                narrow = table.column(index).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(index, one.name, narrow)
    return table


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"{name} is not installed", hint=f"pip install 'mulgil[{name}]'") from error
