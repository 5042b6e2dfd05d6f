"""Data files and the manifests that list them.

Formats: https://iceberg.apache.org/spec/#manifests and `#manifest-lists`. A live file keeps its Avro record as bytes,
so that rewriting a manifest of a thousand files is a concatenation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.types import PrimitiveType

from mulgil.errors import Broken
from mulgil.storage import Store
from mulgil.table import avro
from mulgil.table.layout import MANIFEST_FILE_SCHEMA, Layout

_EXISTING, _ADDED, _DELETED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file that is written and safe, and that no snapshot has yet."""

    path: str
    partition: tuple[Any, ...]
    """The partition's values, as `transform` makes them."""
    record_count: int
    size_bytes: int
    spec_id: int
    encoded: bytes = field(repr=False)
    """Iceberg's `data_file` record in Avro, with the columns' statistics."""
    columns: frozenset[tuple[int, str, Any]] = field(repr=False, compare=False)
    """Field id, name and type of the columns it was written for."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A data file in a snapshot."""

    path: str
    partition: tuple[Any, ...]
    record_count: int
    size_bytes: int
    spec_id: int
    encoded: bytes = field(repr=False)
    sequence_number: int
    """Orders the rows by their arrival: a compacted file has the number of the oldest one in it."""
    added_sequence: int
    """The snapshot that brought this very file."""
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """What is known of a column in one file without opening it."""

    lower: Any
    """No value is below it; None: unknown. Dates and times as numbers since 1970; texts cut to 16 characters."""
    upper: Any
    """No value but NaN is above it; None: unknown."""
    value_count: int | None
    """Values, nulls too."""
    null_count: int | None
    nan_count: int | None
    """None: unknown. Engines that sort NaN above all numbers must not rely on `upper` then."""


def statistics_of(layout: Layout, encoded: bytes) -> dict[str, ColumnStatistics]:
    """Statistics by the columns' full names. Bounds of a widened column are read as wide ones."""
    record = layout.data_file.decode(encoded)
    kept = ("lower_bounds", "upper_bounds", "value_counts", "null_value_counts", "nan_value_counts")
    maps = [{one["key"]: one["value"] for one in record[name] or ()} for name in kept]
    lower, upper, counts, nulls, nans = maps
    return {
        leaf.name: ColumnStatistics(
            _bound(leaf.type, lower.get(leaf.field_id)),
            _bound(leaf.type, upper.get(leaf.field_id)),
            counts.get(leaf.field_id),
            nulls.get(leaf.field_id),
            nans.get(leaf.field_id),
        )
        for leaf in layout.leaves
        if leaf.field_id in counts
    }


def _bound(type_: PrimitiveType, data: bytes | None) -> Any:
    return None if data is None else from_bytes(type_, data)


class Manifest:
    """A manifest as the manifest list describes it; its files are read when they are needed, and then kept."""

    __slots__ = ("_files", "encoded", "length", "live", "path", "sequence_number", "spec_id")

    def __init__(
        self, path: str, length: int, spec_id: int, sequence_number: int, live: int, encoded: bytes,
        files: tuple[LiveFile, ...] | None,
    ) -> None:  # fmt: skip
        self.path = path
        self.length = length
        self.spec_id = spec_id
        self.sequence_number = sequence_number
        self.live = live
        """How many files in it are live."""
        self.encoded = encoded
        """Its record in the manifest list, in Avro."""
        self._files = files

    def files(self, store: Store, layout: Layout) -> tuple[LiveFile, ...]:
        """Its live files, oldest first. `layout` is that of the manifest's partition spec."""
        if self._files is None:
            self._files = _read_manifest(self, store.get(self.path), layout)
        return self._files


def write_manifest(
    layout: Layout,
    path: str,
    *,
    snapshot_id: int,
    sequence_number: int,
    added: Sequence[DataFile],
    added_sequence_number: int | None = None,
    existing: Sequence[LiveFile] = (),
    deleted: Sequence[LiveFile] = (),
) -> tuple[Manifest, bytes]:
    """A manifest of a new snapshot, and its file's bytes.

    `added_sequence_number`: the data sequence number of the added files, None: the snapshot's own.
    """
    records = [_entry(_EXISTING, file.snapshot_id, file.sequence_number, file.added_sequence) + file.encoded
               for file in existing]  # fmt: skip
    records += [_entry(_DELETED, snapshot_id, file.sequence_number, file.added_sequence) + file.encoded
                for file in deleted]  # fmt: skip
    records += [_entry(_ADDED, snapshot_id, added_sequence_number, None) + file.encoded for file in added]
    data = avro.container(layout.manifest_header, records)
    fresh = sequence_number if added_sequence_number is None else added_sequence_number
    live = [*existing, *(_live(file, fresh, sequence_number, snapshot_id) for file in added)]
    record = {
        "manifest_path": path,
        "manifest_length": len(data),
        "partition_spec_id": layout.spec.spec_id,
        "content": 0,
        "sequence_number": sequence_number,
        "min_sequence_number": min((file.sequence_number for file in live), default=sequence_number),
        "added_snapshot_id": snapshot_id,
        "added_files_count": len(added),
        "existing_files_count": len(existing),
        "deleted_files_count": len(deleted),
        "added_rows_count": sum(file.record_count for file in added),
        "existing_rows_count": sum(file.record_count for file in existing),
        "deleted_rows_count": sum(file.record_count for file in deleted),
        "partitions": _summaries(layout, {file.partition for file in [*live, *deleted]}),
        "key_metadata": None,
    }
    encoded = _MANIFEST_FILE.encode(record)
    files = tuple(sorted(live, key=lambda file: (file.sequence_number, file.path)))
    return Manifest(path, len(data), layout.spec.spec_id, sequence_number, len(live), encoded, files), data


def write_manifest_list(
    manifests: Sequence[Manifest], *, snapshot_id: int, parent_id: int | None, sequence_number: int
) -> bytes:
    """The bytes of a manifest list."""
    head = avro.header(
        MANIFEST_FILE_SCHEMA,
        {
            "snapshot-id": str(snapshot_id),
            "parent-snapshot-id": "null" if parent_id is None else str(parent_id),
            "sequence-number": str(sequence_number),
            "format-version": "2",
        },
    )
    return avro.container(head, [manifest.encoded for manifest in manifests])


def read_manifest_list(data: bytes, *, where: str) -> tuple[Manifest, ...]:
    """The manifests of a snapshot. Raises `Broken` for a damaged list, or one with delete files."""
    found = []
    for record in avro.read(data, where=where):
        if record["content"] != 0:
            raise Broken("this table has delete files", where=where, hint="another program wrote to the table")
        known = {name: record.get(name) for name in _MANIFEST_FILE_FIELDS}
        live = (record["added_files_count"] or 0) + (record["existing_files_count"] or 0)
        found.append(
            Manifest(
                record["manifest_path"],
                record["manifest_length"],
                record["partition_spec_id"],
                record["sequence_number"],
                live,
                _MANIFEST_FILE.encode(known),
                None,
            )
        )
    return tuple(found)


def _live_files(entries: Iterable[dict[str, Any]], manifest: Manifest, layout: Layout) -> Iterable[LiveFile]:
    """The entries of a manifest that are not deleted, what they inherit from the manifest list filled in."""
    for entry in entries:
        if entry["status"] == _DELETED:
            continue
        file = entry["data_file"]
        sequence, added = entry.get("sequence_number"), entry.get("file_sequence_number")
        known = {name: file.get(name) for name in layout.data_file_fields} | {"content": 0}
        yield LiveFile(
            file["file_path"],
            layout.partition_values(file["partition"]),
            file["record_count"],
            file["file_size_in_bytes"],
            manifest.spec_id,
            layout.data_file.encode(known),
            manifest.sequence_number if sequence is None else sequence,
            manifest.sequence_number if added is None else added,
            entry.get("snapshot_id") or 0,
        )


def _read_manifest(manifest: Manifest, data: bytes, layout: Layout) -> tuple[LiveFile, ...]:
    found = _live_files(avro.read(data, where=manifest.path), manifest, layout)
    return tuple(sorted(found, key=lambda file: (file.sequence_number, file.path)))


def _live(file: DataFile, sequence_number: int, added_sequence: int, snapshot_id: int) -> LiveFile:
    return LiveFile(
        file.path, file.partition, file.record_count, file.size_bytes, file.spec_id, file.encoded,
        sequence_number, added_sequence, snapshot_id,
    )  # fmt: skip


def _entry(status: int, snapshot_id: int, sequence: int | None, file_sequence: int | None) -> bytes:
    """What stands before `data_file` in an entry: status, and three optional longs."""
    head = avro.long(status) + b"\x02" + avro.long(snapshot_id)
    for value in (sequence, file_sequence):
        head += b"\x00" if value is None else b"\x02" + avro.long(value)
    return head


def _summaries(layout: Layout, partitions: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The range of each partition field's values."""
    out = []
    for at, type_ in enumerate(layout.partition_types):
        values = [one[at] for one in partitions]
        ordered = [one for one in values if one is not None and not (isinstance(one, float) and math.isnan(one))]
        out.append(
            {
                "contains_null": None in values,
                "contains_nan": any(isinstance(one, float) and math.isnan(one) for one in values),
                "lower_bound": to_bytes(type_, min(ordered)) if ordered else None,
                "upper_bound": to_bytes(type_, max(ordered)) if ordered else None,
            }
        )
    return out


_MANIFEST_FILE = avro.Encoder(MANIFEST_FILE_SCHEMA)
_MANIFEST_FILE_FIELDS = [one["name"] for one in MANIFEST_FILE_SCHEMA["fields"]]  # type: ignore[index]
