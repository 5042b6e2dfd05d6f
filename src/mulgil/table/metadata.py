"""`Table`: a table as one of its metadata files describes it.

Format: https://iceberg.apache.org/spec/#table-metadata-fields. The metadata stays the dictionary that it is in JSON; a
next version shares everything that did not change with the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyarrow as pa
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionSpec
from pyiceberg.schema import Schema

from mulgil.errors import Broken, Invalid, Missing
from mulgil.ids import new_uuid
from mulgil.storage import Store
from mulgil.table.layout import Layout, spec_as_json
from mulgil.table.manifest import ColumnStatistics, LiveFile, Manifest, read_manifest_list, statistics_of
from mulgil.table.partition import spec_of
from mulgil.table.schema import as_json, to_iceberg, walk

_UNSORTED = {"order-id": 0, "fields": []}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a table that can still be read."""

    id: int
    parent_id: int | None
    sequence_number: int
    timestamp_ms: int
    operation: str
    """append, replace, overwrite or delete."""
    summary: Mapping[str, str]
    schema_id: int
    manifest_list: str


@dataclass(frozen=True, eq=False)
class Table:
    """An immutable value: the next commit makes another one. What was read from files is kept with it."""

    name: str
    """`database.table`, as the catalog knows it."""
    metadata: Mapping[str, Any] = field(repr=False)
    """The metadata file as JSON says it; not to be changed."""
    layout: Layout = field(repr=False)
    """The current schema with the default partition spec."""
    metadata_location: str | None
    """The metadata file that holds exactly this; None: there is none yet, or the schema has grown since."""
    before: str | None = None
    """The metadata file that this was built on; the same as `metadata_location` when nothing changed since."""
    _store: Store | None = field(default=None, repr=False)
    _manifests: list[tuple[Manifest, ...]] = field(default_factory=list, repr=False)

    @property
    def location(self) -> str:
        """The folder of the table's files."""
        return str(self.metadata["location"])

    @property
    def uuid(self) -> str:
        """Tells this table from another one of the same name."""
        return str(self.metadata["table-uuid"])

    @property
    def schema(self) -> Schema:
        """Iceberg's schema."""
        return self.layout.schema

    @property
    def spec(self) -> PartitionSpec:
        """Iceberg's partition spec for new files."""
        return self.layout.spec

    @property
    def arrow_schema(self) -> pa.Schema:
        """Arrow's schema, each field with its id under `PARQUET:field_id`."""
        return self.layout.arrow

    @property
    def properties(self) -> Mapping[str, str]:
        """Texts that anybody may keep with the table."""
        properties: Mapping[str, str] = self.metadata["properties"]
        return properties

    @property
    def snapshot_id(self) -> int | None:
        """The current snapshot; None: there never was one."""
        current = self.metadata.get("current-snapshot-id")
        return None if current in (None, -1) else current

    @property
    def sequence_number(self) -> int:
        """Grows by one with every snapshot."""
        return int(self.metadata["last-sequence-number"])

    @property
    def record_count(self) -> int:
        """Rows in the current snapshot, from its summary."""
        return self._total("total-records")

    @property
    def file_count(self) -> int:
        """Data files in the current snapshot, from its summary."""
        return self._total("total-data-files")

    @property
    def size_bytes(self) -> int:
        """Size of the current snapshot's data files, from its summary."""
        return self._total("total-files-size")

    @property
    def updated_us(self) -> int:
        """When the table was changed last."""
        return int(self.metadata["last-updated-ms"]) * 1000

    @property
    def retained_sequences(self) -> list[int]:
        """The sequence numbers of all snapshots that can be read; see `sweepable`."""
        return [one["sequence-number"] for one in self.metadata["snapshots"]]

    def snapshots(self) -> list[Snapshot]:
        """All snapshots that can be read, oldest first."""
        return [_snapshot(one) for one in self.metadata["snapshots"]]

    def at(self, snapshot_id: int) -> Table:
        """The table as a former snapshot left it, for reading only. Raises `Missing`."""
        chosen = next((one for one in self.snapshots() if one.id == snapshot_id), None)
        if chosen is None:
            raise Missing(f"the table has no snapshot {snapshot_id}", where=self.name, hint="it may have expired")
        schema = next((one for one in self.metadata["schemas"] if one["schema-id"] == chosen.schema_id), None)
        layout = self.layout if schema is None else Layout(Schema.model_validate(schema), self.spec)
        metadata = {**self.metadata, "current-snapshot-id": snapshot_id}
        return replace(self, metadata=metadata, layout=layout, before=None, _manifests=[])

    def files(self) -> list[LiveFile]:
        """The data files of the current snapshot, oldest rows first."""
        found = [file for one in self.manifests() for file in one.files(self.store, self.layout_of(one.spec_id))]
        return sorted(found, key=lambda file: (file.sequence_number, file.path))

    def statistics(self, file: LiveFile) -> dict[str, ColumnStatistics]:
        """What is known of the file's columns, by full name; a column that the file lacks is not there."""
        return statistics_of(self.layout_of(file.spec_id), file.encoded)

    def manifests(self) -> tuple[Manifest, ...]:
        """The manifests of the current snapshot."""
        if not self._manifests:
            current = next((one for one in self.metadata["snapshots"] if one["snapshot-id"] == self.snapshot_id), None)
            if current is None:
                if self.snapshot_id is not None:
                    raise Broken("the current snapshot is not in the metadata", where=self.before or self.name)
                self._manifests.append(())
            else:
                where = current["manifest-list"]
                self._manifests.append(read_manifest_list(self.store.get(where), where=where))
        return self._manifests[0]

    def layout_of(self, spec_id: int) -> Layout:
        """The current schema with one of the partition specs."""
        if spec_id == self.spec.spec_id:
            return self.layout
        spec = next((one for one in self.metadata["partition-specs"] if one["spec-id"] == spec_id), None)
        if spec is None:
            raise Broken(f"the metadata has no partition spec {spec_id}", where=self.before or self.name)
        return Layout(self.schema, PartitionSpec.model_validate(spec))

    @property
    def store(self) -> Store:
        """Where the table's files are. Only a table that has files knows it."""
        if self._store is None:
            raise Broken("this table was not loaded from a store", where=self.name)
        return self._store

    def _total(self, key: str) -> int:
        for one in reversed(self.metadata["snapshots"]):
            if one["snapshot-id"] == self.snapshot_id:
                return int(one["summary"].get(key, 0))
        return 0


def new(
    name: str,
    location: str,
    schema: pa.Schema,
    *,
    partition: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
    comment: str = "",
) -> Table:
    """A table that does not exist yet: stage something on it, if only an append of nothing.

    `location` is an absolute folder or a URL; `partition` are texts such as `day(event_time)`, `bucket(16, user_id)`,
    `truncate(4, code)` or a column's name. Raises `Invalid` for a type or a partition that Iceberg does not know.
    """
    if not (location.startswith("/") or "://" in location):
        raise Invalid(f"a table's location must be absolute, and {location!r} is not", where=name)
    iceberg = to_iceberg(schema, where=name)
    spec = spec_of(partition, iceberg, where=name)
    metadata = {
        "format-version": 2,
        "table-uuid": new_uuid(),
        "location": location.rstrip("/"),
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": max((one.field_id for _, one in walk(iceberg.fields)), default=0),
        "current-schema-id": 0,
        "schemas": [as_json(iceberg)],
        "default-spec-id": 0,
        "partition-specs": [spec_as_json(spec)],
        "last-partition-id": max((one.field_id for one in spec.fields), default=PARTITION_FIELD_ID_START - 1),
        "default-sort-order-id": 0,
        "sort-orders": [_UNSORTED],
        "properties": {**({"comment": comment} if comment else {}), **(properties or {})},
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
    }
    return Table(name, metadata, Layout(iceberg, spec), None)


def load(store: Store, name: str, metadata_location: str) -> Table:
    """The table that a metadata file describes; manifests are read when they are needed.

    Raises `Missing` when there is no such file, `Broken` when it is damaged or written for another format version.
    """
    try:
        metadata = msgspec.json.decode(store.get(metadata_location))
        version = metadata["format-version"]
        if version != 2:
            hint = "upgrade the table to format version 2" if version == 1 else ""
            raise Broken(f"Iceberg format version {version} is not read here", where=metadata_location, hint=hint)
        schema = next(one for one in metadata["schemas"] if one["schema-id"] == metadata["current-schema-id"])
        spec = next(one for one in metadata["partition-specs"] if one["spec-id"] == metadata["default-spec-id"])
        layout = Layout(Schema.model_validate(schema), PartitionSpec.model_validate(spec))
    except (msgspec.DecodeError, KeyError, TypeError, StopIteration, ValueError) as error:
        raise Broken(f"this is no sound metadata file: {error}", where=metadata_location) from error
    metadata = {"properties": {}, "snapshots": [], "snapshot-log": [], "metadata-log": [], "refs": {}} | metadata
    ordered = sorted(metadata["snapshots"], key=lambda one: one["sequence-number"])
    return Table(name, metadata | {"snapshots": ordered}, layout, metadata_location, metadata_location, store)


def with_schema(table: Table, schema: Schema, *, last_column_id: int) -> Table:
    """The table with another current schema, which no metadata file has yet."""
    used = {one.get("schema-id") for one in table.metadata["snapshots"]}
    kept = [one for one in table.metadata["schemas"] if one["schema-id"] in used]
    metadata = {
        **table.metadata,
        "schemas": [*kept, as_json(schema)],
        "current-schema-id": schema.schema_id,
        "last-column-id": last_column_id,
    }
    return replace(table, metadata=metadata, layout=Layout(schema, table.spec), metadata_location=None)


def _snapshot(one: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        id=one["snapshot-id"],
        parent_id=one.get("parent-snapshot-id"),
        sequence_number=one["sequence-number"],
        timestamp_ms=one["timestamp-ms"],
        operation=one["summary"]["operation"],
        summary=one["summary"],
        schema_id=one.get("schema-id", 0),
        manifest_list=one["manifest-list"],
    )
