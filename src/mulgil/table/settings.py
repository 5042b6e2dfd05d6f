"""What a user may tune about tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableSettings:
    """The defaults suit commits every few seconds; every size is of compressed Parquet."""

    file_bytes_target: int = 128 << 20
    """Size that compaction makes data files, bytes. A file of half of it counts as full and is left alone."""
    row_group_rows: int = 122_880
    """Rows of a Parquet row group: what DuckDB reads as one piece."""
    compression_level_hot: int = 1
    """zstd level of files as they are delivered."""
    compression_level_cold: int = 3
    """zstd level of files that compaction writes."""
    compact_fan_in: int = 8
    """How many files of about one size are merged into one. A row is rewritten log(target / hot file size) to this base
    times."""
    compact_settle_s: int = 900
    """A partition that got no file for this long has its remaining small files merged, whatever their number."""
    snapshots_max: int = 100
    """How many snapshots a table keeps."""
    snapshots_recent: int = 50
    """How many of them are the newest ones; before these one is kept per `snapshot_spacing_s`."""
    snapshot_spacing_s: int = 3600
    """How far apart the older snapshots are."""
    snapshot_age_s_max: int = 7 * 24 * 3600
    """Snapshots older than this are dropped; the current one never is."""
    previous_metadata_max: int = 20
    """How many former metadata files stay on the disk."""
    manifest_fan_in: int = 8
    """How many manifests of about one size are merged into one inside a commit."""
    manifest_files_max: int = 8_000
    """A manifest with this many files is not merged any more."""
