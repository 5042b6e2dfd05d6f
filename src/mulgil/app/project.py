"""A project in Python: what `mulgil.open()` answers."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pyarrow as pa

from mulgil import query
from mulgil.app.books import Difference, balance, books
from mulgil.app.settings import load_project
from mulgil.app.wiring import open_engine, open_lake


class Project:
    """A lake to be read, whether `mulgil run` is working in it or not."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Raises `Missing` where there is no project, `Invalid` with all mistakes of its mulgil.yaml."""
        self._lake = open_lake(load_project(None if folder is None else Path(folder)))
        self._engine = open_engine(self._lake)

    def sql(self, text: str) -> query.Result:
        """Answer one statement: `.arrow()`, `.polars()`, `.pandas()`, `.batches()`.

        It sees every record that was acknowledged a second ago, and all its tables as they were at one moment.
        """
        return self._engine.run(text)

    def tables(self) -> list[str]:
        """Everything that a statement may name."""
        return self._engine.names()

    def ledger(self) -> pa.Table:
        """The books: a row for each source, table and hour."""
        return books(self._lake)

    def differences(self) -> list[Difference]:
        """Where the books do not balance; empty when they do."""
        return balance(self._lake)

    def close(self) -> None:
        """Give back what is held."""
        self._engine.close()
        self._lake.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
