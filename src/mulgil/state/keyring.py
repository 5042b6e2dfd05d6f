"""API keys: who may do what. The state keeps a hash of each key, never the key.

A key carries 256 random bits, so a plain SHA-256 protects it as well as a slow hash would: there is nothing to guess.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from mulgil import ids
from mulgil.clock import Clock
from mulgil.errors import Invalid, Missing
from mulgil.state.database import Database

TABLES = """
CREATE TABLE IF NOT EXISTS api_key (
  id TEXT PRIMARY KEY, digest BLOB NOT NULL, grants TEXT NOT NULL, created_us INTEGER NOT NULL) STRICT;
"""

PREFIX = "mulgil"
REFRESH_S = 1.0
_GRANT = re.compile(r"(write:(\*|[a-zA-Z0-9_.-]+)|read:(\*|metrics))\Z")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept."""

    id: str
    digest: bytes
    grants: tuple[str, ...]
    created_us: int

    def may(self, grant: str) -> bool:
        """Whether one of the grants is this one, or the one for everything of its kind."""
        return grant in self.grants or f"{grant.partition(':')[0]}:*" in self.grants


class KeyRing:
    """All keys of a project. Keys made or revoked by another process count here within a second."""

    def __init__(self, database: Database, clock: Clock) -> None:
        database.declare(TABLES)
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, ApiKey] = {}
        self._read_s: float | None = None

    def create(self, grants: Sequence[str]) -> tuple[ApiKey, str]:
        """A new key, and the secret text that is never shown again. Raises `Invalid` for a grant that means nothing."""
        if not grants:
            raise Invalid("a key without grants opens nothing", hint="--grant write:<source>")
        for grant in grants:
            if not _GRANT.match(grant):
                raise Invalid(f"{grant!r} is not a grant", hint="write:<source>, write:* or read:metrics")
        identity = ids.new_uuid()[:8]
        secret = f"{PREFIX}_{identity}_{ids.new_secret()}"
        key = ApiKey(identity, sha256(secret.encode()).digest(), tuple(grants), self._clock.now_us())
        with self._database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO api_key VALUES (?, ?, ?, ?)", (key.id, key.digest, " ".join(key.grants), key.created_us)
            )
        self._read_s = None
        return key, secret

    def revoke(self, identity: str) -> None:
        """Forget a key. Raises `Missing`."""
        with self._database.transaction() as transaction:
            if not transaction.change("DELETE FROM api_key WHERE id = ?", (identity,)):
                raise Missing(f"there is no key {identity}", hint="`mulgil key list` shows them")
        self._read_s = None

    def all_keys(self) -> list[ApiKey]:
        """All keys, oldest first."""
        with self._database.read() as read:
            rows = read.execute("SELECT id, digest, grants, created_us FROM api_key ORDER BY created_us, id")
        return [ApiKey(identity, digest, tuple(grants.split()), created) for identity, digest, grants, created in rows]

    def allows(self, secret: str, grant: str) -> bool:
        """Whether this secret's key has the grant."""
        if not secret.isascii():
            return False
        parts = secret.split("_", 2)
        key = self._fresh().get(parts[1]) if len(parts) == 3 and parts[0] == PREFIX else None
        return key is not None and compare_digest(key.digest, sha256(secret.encode()).digest()) and key.may(grant)

    def is_empty(self) -> bool:
        """Whether no key was ever made, or all are revoked."""
        return not self._fresh()

    def _fresh(self) -> dict[str, ApiKey]:
        now_s = self._clock.monotonic_s()
        with self._lock:
            if self._read_s is None or now_s - self._read_s > REFRESH_S:
                self._keys = {key.id: key for key in self.all_keys()}
                self._read_s = now_s
            return self._keys
