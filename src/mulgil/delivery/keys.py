"""Idempotency keys: one row of the state for each request that came with a key, for as long as keys are remembered.

A key is stored in the transaction that commits its records, so that either both are there or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from mulgil.state import Database, Transaction

TABLES = """
CREATE TABLE IF NOT EXISTS idempotency_key (
  source TEXT NOT NULL, digest BLOB NOT NULL, seen_us INTEGER NOT NULL, PRIMARY KEY (source, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_key_age ON idempotency_key (seen_us);
"""

QUESTION_KEYS = 500
FORGET_ROWS = 5_000


def digest(key: str) -> bytes:
    """16 bytes for a key of any length."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def known(database: Database, source: str, digests: Sequence[bytes]) -> set[bytes]:
    """Those of the digests that were committed before."""
    found: set[bytes] = set()
    with database.read() as read:
        for first in range(0, len(digests), QUESTION_KEYS):
            asked = digests[first : first + QUESTION_KEYS]
            marks = ",".join("?" * len(asked))
            sql = f"SELECT digest FROM idempotency_key WHERE source = ? AND digest IN ({marks})"
            found.update(row[0] for row in read.execute(sql, (source, *asked)))
    return found


def store(transaction: Transaction, source: str, digests: Iterable[bytes], now_us: int) -> None:
    """Remember keys from now on."""
    transaction.execute_many(
        "INSERT OR IGNORE INTO idempotency_key VALUES (?, ?, ?)", [(source, one, now_us) for one in digests]
    )


def forget(database: Database, source: str, before_us: int) -> bool:
    """Drop keys that are older than they are remembered, a bounded number at a time; whether that were all."""
    with database.transaction() as transaction:
        dropped = transaction.change(
            "DELETE FROM idempotency_key WHERE (source, digest) IN (SELECT source, digest FROM idempotency_key"
            " WHERE seen_us < ? AND source = ? LIMIT ?)",
            (before_us, source, FORGET_ROWS),
        )
    return dropped < FORGET_ROWS
