"""Small files are put together, the way a log-structured merge tree does it.

Within a partition, files of about one size are merged once there are enough of them; the result counts with the next
larger size, up to the target. A row is rewritten a few times in all, whatever the rate of commits, and the newest files
first. Rewriting needs no lock: the exchange (`stage_replace`) is made on the newest table and conflicts with no append.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulgil.storage import Store
from mulgil.table.encoding import dictionary_columns
from mulgil.table.files import data_path, nan_counts
from mulgil.table.manifest import DataFile, LiveFile
from mulgil.table.metadata import Table
from mulgil.table.read import batches
from mulgil.table.settings import TableSettings
from mulgil.table.statistics import describe

_FILES_MAX = 512
"""So many files at most are merged at once, for the time it takes."""
_READ_ROWS = 16_384
"""Read at once: larger pieces are no faster and take more memory."""
_SPREAD = 1.25
"""A merged file may be so many times the target size; one more file would be a small one again."""


@dataclass(frozen=True)
class Compaction:
    """Files of one partition to be merged."""

    partition: tuple[Any, ...]
    files: tuple[LiveFile, ...]
    """Oldest rows first."""
    reason: str
    """For the operator."""
    planned_us: int
    """When; names the files that are written."""

    @property
    def size_bytes(self) -> int:
        """What has to be read."""
        return sum(file.size_bytes for file in self.files)


def plan_compaction(table: Table, settings: TableSettings, now_us: int) -> list[Compaction]:
    """What is worth merging now, at most one merge per partition, the quickest first. Empty when all is well."""
    partitions: dict[tuple[Any, ...], list[LiveFile]] = {}
    for file in table.files():
        if file.spec_id == table.spec.spec_id:
            partitions.setdefault(file.partition, []).append(file)
    plans = []
    for partition, files in partitions.items():
        chosen, reason = _choose(files, table, settings, now_us)
        if len(chosen) > 1:
            plans.append(Compaction(partition, tuple(chosen), reason, now_us))
    return sorted(plans, key=lambda plan: plan.size_bytes / len(plan.files))


def _choose(files: list[LiveFile], table: Table, settings: TableSettings, now_us: int) -> tuple[list[LiveFile], str]:
    """The files of one partition, oldest first, that should become one."""
    target, fan_in = settings.file_bytes_target, settings.compact_fan_in
    small = [file for file in files if file.size_bytes < target // 2]
    depths = [_depth(file.size_bytes, target // 2, fan_in) for file in small]
    for depth in sorted(set(depths), reverse=True):
        if depths.count(depth) >= fan_in:
            alike = [file for file, its in zip(small, depths, strict=True) if its >= depth]
            return _fill(alike, target), f"{len(alike)} files of one size"
    if sum(file.size_bytes for file in small) >= target:
        return _fill(small, target), "enough for a full file"
    if len(small) > 1 and now_us - _added_us(table, files) >= settings.compact_settle_s * 1_000_000:
        return _fill(small, target), "nothing is added any more"
    return [], ""


def _depth(size: int, full: int, fan_in: int) -> int:
    """How many merges a file is away from being full."""
    depth = 0
    while size * fan_in < full:
        size = max(size, 1) * fan_in
        depth += 1
    return depth


def _fill(files: list[LiveFile], target: int) -> list[LiveFile]:
    """As many as make a full file, the oldest first."""
    chosen: list[LiveFile] = []
    size = 0
    for file in files[:_FILES_MAX]:
        if size >= target or (len(chosen) > 1 and size + file.size_bytes > target * _SPREAD):
            break
        chosen.append(file)
        size += file.size_bytes
    return chosen


def _added_us(table: Table, files: Sequence[LiveFile]) -> int:
    """The time by which the newest of the files was there: that of the first kept snapshot that has it."""
    newest = max(file.added_sequence for file in files)
    times = (one["timestamp-ms"] for one in table.metadata["snapshots"] if one["sequence-number"] >= newest)
    return int(next(times, table.metadata["last-updated-ms"])) * 1000


def rewrite(
    store: Store, table: Table, compaction: Compaction, settings: TableSettings, *, sort: Sequence[str] = ()
) -> list[DataFile]:
    """Write the files' rows anew, in the table's current schema; to be staged with `stage_replace`.

    Rows keep their order, file after file; `sort` names columns to sort by instead, in each row group. Memory: about
    a row group and a Parquet writer, whatever the size of the files. Everything is durable on return.
    """
    layout = table.layout
    groups = _row_groups(store, table, compaction, settings, sort)
    made: list[DataFile] = []
    try:
        group = next(groups, None)
        while group is not None:
            path = data_path(table, compaction.partition, compaction.planned_us)
            nans: dict[int, int] = {}
            with store.open_write(path) as sink:
                with pq.ParquetWriter(
                    sink, layout.arrow, compression="zstd", compression_level=settings.compression_level_cold,
                    store_schema=False, use_dictionary=dictionary_columns(group),
                ) as writer:  # fmt: skip
                    while group is not None and sink.tell() < settings.file_bytes_target * _SPREAD:
                        writer.write_table(group, row_group_size=settings.row_group_rows)
                        for id_, count in nan_counts(layout, group).items():
                            nans[id_] = nans.get(id_, 0) + count
                        group = next(groups, None)
                size = sink.tell()
            footer = writer.writer.metadata  # a `metadata_collector` would ask for it where the disk is full, too
            made.append(describe(layout, path, compaction.partition, footer, size, nans))
    except BaseException:
        for file in made:
            store.delete(file.path)
        raise
    return made


def _row_groups(
    store: Store, table: Table, compaction: Compaction, settings: TableSettings, sort: Sequence[str]
) -> Iterator[pa.Table]:
    """The rows of all files, cut into row groups."""
    held: list[pa.Table] = []
    count = 0
    for file in compaction.files:
        for piece in batches(store, table, file, _READ_ROWS):
            held.append(piece)
            count += piece.num_rows
            while count >= settings.row_group_rows:
                rows = pa.concat_tables(held)
                yield _sorted(rows.slice(0, settings.row_group_rows), sort)
                held = [rows.slice(settings.row_group_rows)]
                count -= settings.row_group_rows
    if count:
        yield _sorted(pa.concat_tables(held), sort)


def _sorted(rows: pa.Table, sort: Sequence[str]) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in sort]) if sort else rows
