"""Chance, in one place: names that never repeat, and secrets."""

from __future__ import annotations

import secrets
import uuid


def new_uuid() -> str:
    """A random UUID in its canonical text form."""
    return str(uuid.uuid4())


def new_snapshot_id() -> int:
    """A random positive 63-bit number, as the Iceberg format asks for snapshot ids."""
    return secrets.randbits(63) or 1


def new_secret() -> str:
    """A secret of 256 bits, safe in URLs and headers."""
    return secrets.token_urlsafe(32)
