"""Fencing: each start of a writer takes a higher number, and the number is checked in the transaction that commits.

A writer that was paused (a stopped process, a machine put to sleep) and wakes after another has taken over finds the
number changed: its commit fails instead of doubling what its successor already delivered.
"""

from __future__ import annotations

from mulgil.errors import Conflict
from mulgil.state.database import Database, Transaction


class Fenced(Conflict):
    """Another process has become the writer. This one stops; doing it again would fail again."""


TABLES = "CREATE TABLE IF NOT EXISTS writer_epoch (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;"


class Epoch:
    """A writer's right to commit."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    @classmethod
    def take(cls, database: Database, name: str) -> Epoch:
        """Become the writer called `name`; whoever was it before is fenced off."""
        database.declare(TABLES)
        with database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO writer_epoch VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1", (name,)
            )
            rows = transaction.execute("SELECT epoch FROM writer_epoch WHERE name = ?", (name,))
        return cls(name, rows[0][0])

    def check(self, transaction: Transaction) -> None:
        """Raise `Fenced` where somebody else has become the writer since."""
        rows = transaction.execute("SELECT epoch FROM writer_epoch WHERE name = ?", (self.name,))
        if not rows or rows[0][0] != self.number:
            raise Fenced(
                f"another process has taken over as {self.name!r}",
                hint="this one stops; only one `mulgil run` may work in a project",
            )
