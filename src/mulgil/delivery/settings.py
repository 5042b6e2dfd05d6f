"""What a user may tune about delivery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mulgil.schema import Format


@dataclass(frozen=True)
class DeliverySettings:
    """Pace of all flows."""

    visible_ms: int = 500
    """A record waits at most about so long before its commit begins: visibility. File size is compaction's business."""
    batch_bytes_max: int = 32 * 2**20
    """A commit takes at most about this many bytes of payload, which bounds memory."""
    widen_bytes_max: int = 2**30
    """A long column that meets fractions becomes double by rewriting its table up to this size; beyond, they are
    rescued."""


@dataclass(frozen=True)
class Target:
    """Where a source's records land and how they are read."""

    table: str
    """database.table"""
    format: Format = field(default_factory=Format)
    """How the records are written down, unless a block says otherwise."""
    time: str | None = None
    """The event-time column; None: found in the first records."""
    strict: bool = False
    """Whether a key without a column, or a value of another type, puts its record into quarantine."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Types that the user fixed: column to one of `schema.DECLARED_TYPES`."""
    partition: tuple[str, ...] = ()
    """Iceberg transforms, such as `day(event_time)`; empty: by day of the time column, or of `_ingested_at`."""
    event_id: str | None = None
    """A column whose repeated values are dropped; None: no such check."""
    remember_days: int = 7
    """For how long idempotency keys and event ids are remembered."""
