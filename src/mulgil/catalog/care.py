"""Keep tables quick to read: put small files together, delete what no snapshot can see any more.

`mulgil run` takes one step after another in the background. The expensive part, rewriting, holds no lock; only the
exchange of the files does, and it is made on the newest table, so that an append never waits for longer than a commit
and never loses against compaction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mulgil import table
from mulgil.catalog.catalog import Catalog
from mulgil.clock import Clock
from mulgil.errors import Conflict, MulgilError
from mulgil.state import Database, Fenced, Transaction


@dataclass(frozen=True, slots=True)
class CareReport:
    """What one step did."""

    table: str
    files_before: int = 0
    files_after: int = 0
    bytes_rewritten: int = 0
    files_deleted: int = 0


class Care:
    """Looks after all tables of a catalog, one small step at a time."""

    def __init__(
        self,
        catalog: Catalog,
        database: Database,
        settings: table.TableSettings,
        clock: Clock,
        *,
        grace_s: float,
        fence: Callable[[Transaction], None] | None = None,
    ) -> None:
        """`grace_s`: how long unseen files stay for readers that began before. `fence` may stop a commit."""
        self._catalog = catalog
        self._database = database
        self._settings = settings
        self._clock = clock
        self._grace_us = int(grace_s * 1e6)
        self._fence = fence

    def step(self, name: str) -> CareReport | None:
        """Do the most useful compaction of one table and sweep it; None where there was nothing to do.

        Raises `Fenced` when the fence does; a table that changed meanwhile is just left for the next step.
        """
        found = self._catalog.find(name)
        if found is None:
            return None
        now_us = self._clock.now_us()
        deleted = self._catalog.sweep(name, now_us - self._grace_us)
        plans = table.plan_compaction(found, self._settings, now_us)
        if not plans:
            return CareReport(name, files_deleted=deleted) if deleted else None
        plan = plans[0]
        added = table.rewrite(self._catalog.store, found, plan, self._settings)
        try:
            self._exchange(name, plan, added)
        except Fenced:
            raise
        except Conflict:
            return CareReport(name, files_deleted=deleted) if deleted else None
        return CareReport(name, len(plan.files), len(added), sum(file.size_bytes for file in plan.files), deleted)

    def _exchange(self, name: str, plan: table.Compaction, added: list[table.DataFile]) -> None:
        staged: list[table.Staged] = []
        try:
            with self._catalog.lock(name):
                newest = self._catalog.load(name)
                staged.append(
                    table.stage_replace(
                        self._catalog.store,
                        newest,
                        [file.path for file in plan.files],
                        added,
                        settings=self._settings,
                        now_us=self._clock.now_us(),
                    )
                )
                with self._database.transaction() as transaction:
                    if self._fence is not None:
                        self._fence(transaction)
                    self._catalog.swap(transaction, staged[0], self._clock.now_us())
                self._catalog.adopt(staged)
        except BaseException:
            # A commit that failed may still have happened, and then the files are in use. Raises where nobody knows.
            if not staged or not self._catalog.landed(staged):
                for path in [*(file.path for file in added), *(path for one in staged for path in one.written)]:
                    with suppress(MulgilError):
                        self._catalog.store.delete(path)
            raise
