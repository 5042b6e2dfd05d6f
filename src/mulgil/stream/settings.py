"""What a user tunes of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from mulgil.errors import Invalid

MIB = 1024 * 1024

PAYLOAD_BYTES_MAX = 64 * MIB
"""The largest payload of one append; it lies in one frame, whatever `frame_bytes_max` says."""


@dataclass(frozen=True)
class StreamSettings:
    """Settings of one stream. Raises `Invalid` for values that cannot work."""

    shards: int = 1
    """Ordered parts that keys are spread over. May be changed between runs: shards that exist stay readable."""
    segment_bytes: int = 64 * MIB
    """Size of a segment file, set aside on the disk when it is created."""
    frame_bytes_max: int = 8 * MIB
    """Appends that wait together share a frame up to this size; a larger payload has its own."""
    retention_hours: float = 24.0
    """How long records are kept after they were appended; unread ones longer."""
    retention_bytes: int | None = None
    """How much is kept over all shards; unread records are kept beyond it. None: as much as there is."""
    disk_free_bytes_min: int = 512 * MIB
    """Appends are refused with `Overloaded` while the disk has less free than this."""
    waiting_bytes_max: int = 64 * MIB
    """Per shard: appends are refused with `Overloaded` while this much waits for the disk."""

    def __post_init__(self) -> None:
        for name, least in (
            ("shards", 1),
            ("segment_bytes", 4096),
            ("frame_bytes_max", 1),
            ("retention_hours", 0),
            ("disk_free_bytes_min", 0),
            ("waiting_bytes_max", 1),
        ):
            value = getattr(self, name)
            if value < least:
                raise Invalid(f"{name} is {value}", where="stream", hint=f"{least} or more")
        if self.frame_bytes_max > PAYLOAD_BYTES_MAX:
            raise Invalid(
                f"frame_bytes_max is {self.frame_bytes_max}", where="stream", hint=f"at most {PAYLOAD_BYTES_MAX}"
            )
        if self.retention_bytes is not None and self.retention_bytes < 0:
            raise Invalid(f"retention_bytes is {self.retention_bytes}", where="stream", hint="0 or more, or nothing")
