"""Delivery's tables in the state, all of them."""

from __future__ import annotations

from mulgil.delivery import commit, keys, ledger, positions, seen
from mulgil.state import Database


def declare(database: Database) -> None:
    """Create delivery's tables where they are missing."""
    for tables in (positions.TABLES, keys.TABLES, ledger.TABLES, seen.TABLES, commit.TABLES):
        database.declare(tables)
