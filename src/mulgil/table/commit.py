"""The next version of a table, written beside the current one.

Nothing is visible until the catalog swaps the table's pointer to the staged metadata file. Staging reads nothing but
what it merges, writes a manifest, a manifest list and a metadata file, and lets old snapshots go on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec

from mulgil.errors import Conflict, MulgilError
from mulgil.ids import new_snapshot_id, new_uuid
from mulgil.storage import Store
from mulgil.table.expire import Garbage, retained
from mulgil.table.manifest import DataFile, LiveFile, Manifest, write_manifest, write_manifest_list
from mulgil.table.metadata import Table
from mulgil.table.schema import widens
from mulgil.table.settings import TableSettings

Kind = Literal["append", "replace", "overwrite", "metadata"]


@dataclass(frozen=True)
class Staged:
    """A version of a table that is safe on the disk and waits for the pointer."""

    table: Table
    """The table once the pointer is swapped to `table.metadata_location`."""
    before: str | None
    """The metadata location that the pointer must have for the swap to be right; None: the table must not exist."""
    garbage: tuple[Garbage, ...]
    """What the swap makes superfluous: to be kept in the same transaction, swept later."""
    kind: Kind
    """metadata: no snapshot was made (a new table, another schema, other properties)."""
    written: tuple[str, ...]
    """The files that are this version's own."""


class Pointer(Protocol):
    """What a table needs of a catalog."""

    def load(self, name: str) -> Table:
        """The table as it is now. Raises `Missing`."""
        ...

    def swap(self, transaction: Any, staged: Staged) -> None:
        """Make the staged version the current one, inside the caller's transaction. Raises `Conflict` when the pointer
        is not `staged.before` any more."""
        ...


def abandoned(staged: Staged) -> list[str]:
    """The files to delete when a staged version lost its race. The data files stay: stage them again."""
    return list(staged.written)


def stage_append(
    store: Store,
    table: Table,
    files: Sequence[DataFile],
    *,
    settings: TableSettings,
    now_us: int,
    summary: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Staged:
    """Add files; without files only the schema and the properties are stored and no snapshot is made.

    `summary` goes into the snapshot, `properties` into the table, where they stay. Raises `Conflict` when the files
    were written for columns that the table does not have, or has with another id: write them again for this table.
    """
    for file in files:
        _check_columns(table, file)
    if not files:
        return _finish(store, table, "metadata", None, [], [], settings, now_us, properties)
    snapshot_id, sequence = _new_id(table), table.sequence_number + 1
    merged, kept = _to_merge(table.manifests(), len(files), table.spec.spec_id, settings)
    existing = [file for one in merged for file in one.files(store, table.layout)]
    manifest, data = write_manifest(
        table.layout, _manifest_path(table), snapshot_id=snapshot_id, sequence_number=sequence,
        added=files, existing=existing,
    )  # fmt: skip
    snapshot = _Change(snapshot_id, sequence, "append", [manifest, *kept], files, (), dict(summary or {}))
    garbage = [Garbage(one.path, one.sequence_number, sequence) for one in merged]
    return _finish(store, table, "append", snapshot, [(manifest.path, data)], garbage, settings, now_us, properties)


def stage_replace(
    store: Store,
    table: Table,
    removed: Iterable[str],
    added: Sequence[DataFile],
    *,
    settings: TableSettings,
    now_us: int,
    operation: Literal["replace", "overwrite"] = "replace",
    summary: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Staged:
    """Put files into the place of others: `replace` when the rows are the same (compaction), `overwrite` when not.

    Raises `Conflict` when a removed file is not live any more, or as `stage_append` does.
    """
    gone = set(removed)
    for file in added:
        _check_columns(table, file)
    if not gone and not added:
        return _finish(store, table, "metadata", None, [], [], settings, now_us, properties)
    snapshot_id, sequence = _new_id(table), table.sequence_number + 1
    touched: list[Manifest] = []
    kept: list[Manifest] = []
    for one in table.manifests():
        hit = any(file.path in gone for file in one.files(store, table.layout_of(one.spec_id)))
        (touched if hit else kept).append(one)
    found = [file for one in touched for file in one.files(store, table.layout_of(one.spec_id))]
    deleted = [file for file in found if file.path in gone]
    if len(deleted) < len(gone):
        lost = sorted(gone - {file.path for file in deleted})
        raise Conflict(f"{len(lost)} files are not in the table any more, such as {lost[0]}", where=table.name)
    made: list[Manifest] = []
    written: list[tuple[str, bytes]] = []
    oldest = min((file.sequence_number for file in deleted), default=None) if operation == "replace" else None
    for spec_id in sorted({table.spec.spec_id, *(file.spec_id for file in found)}):
        mine = [file for file in found if file.spec_id == spec_id]
        new = added if spec_id == table.spec.spec_id else ()
        if not mine and not new:
            continue
        manifest, data = write_manifest(
            table.layout_of(spec_id), _manifest_path(table), snapshot_id=snapshot_id, sequence_number=sequence,
            added=new, added_sequence_number=oldest,
            existing=[file for file in mine if file.path not in gone],
            deleted=[file for file in mine if file.path in gone],
        )  # fmt: skip
        made.append(manifest)
        written.append((manifest.path, data))
    snapshot = _Change(snapshot_id, sequence, operation, [*made, *kept], added, deleted, dict(summary or {}))
    garbage = [Garbage(one.path, one.sequence_number, sequence) for one in touched]
    garbage += [Garbage(file.path, file.added_sequence, sequence) for file in deleted]
    return _finish(store, table, operation, snapshot, written, garbage, settings, now_us, properties)


@dataclass(frozen=True)
class _Change:
    """A snapshot to be."""

    snapshot_id: int
    sequence: int
    operation: str
    manifests: list[Manifest]
    added: Sequence[DataFile]
    deleted: Sequence[LiveFile]
    summary: dict[str, str]


def _finish(
    store: Store,
    table: Table,
    kind: Kind,
    change: _Change | None,
    written: list[tuple[str, bytes]],
    garbage: list[Garbage],
    settings: TableSettings,
    now_us: int,
    properties: Mapping[str, str] | None,
) -> Staged:
    """Write the new metadata with all that it refers to."""
    now_ms = max(now_us // 1000, table.metadata["last-updated-ms"])  # a clock set back must not disorder the log
    metadata: dict[str, Any] = {**table.metadata, "last-updated-ms": now_ms}
    if properties:
        metadata["properties"] = {**table.properties, **properties}
    written, garbage = list(written), list(garbage)
    if change is not None:
        written.append(_add_snapshot(metadata, table, change, now_ms))
        garbage += _expire(metadata, settings, now_ms)
    garbage += _log_previous(metadata, table, settings)
    location = _next_location(table)
    written.append((location, msgspec.json.encode(metadata)))
    try:
        store.put_all(written)
    except BaseException:
        for path, _ in written:  # some may be there
            with suppress(MulgilError):
                store.delete(path)
        raise
    manifests = [tuple(change.manifests)] if change is not None else table._manifests
    after = replace(
        table, metadata=metadata, metadata_location=location, before=location, _store=store, _manifests=manifests
    )
    return Staged(after, table.before, tuple(garbage), kind, tuple(path for path, _ in written))


def _add_snapshot(metadata: dict[str, Any], table: Table, change: _Change, now_ms: int) -> tuple[str, bytes]:
    """Put the snapshot into the metadata; its manifest list, to be written."""
    path = f"{table.location}/metadata/snap-{change.snapshot_id}-{new_uuid()}.avro"
    snapshot = {
        "snapshot-id": change.snapshot_id,
        **({} if table.snapshot_id is None else {"parent-snapshot-id": table.snapshot_id}),
        "sequence-number": change.sequence,
        "timestamp-ms": now_ms,
        "manifest-list": path,
        "summary": {"operation": change.operation, **_summary(table, change), **change.summary},
        "schema-id": table.schema.schema_id,
    }
    metadata["snapshots"] = [*metadata["snapshots"], snapshot]
    metadata["snapshot-log"] = [
        *metadata["snapshot-log"], {"timestamp-ms": now_ms, "snapshot-id": change.snapshot_id}
    ]  # fmt: skip
    metadata["current-snapshot-id"] = change.snapshot_id
    metadata["last-sequence-number"] = change.sequence
    main = {**metadata["refs"].get("main", {"type": "branch"}), "snapshot-id": change.snapshot_id}
    metadata["refs"] = {**metadata["refs"], "main": main}
    data = write_manifest_list(
        change.manifests, snapshot_id=change.snapshot_id, parent_id=table.snapshot_id, sequence_number=change.sequence
    )
    return path, data


def _summary(table: Table, change: _Change) -> dict[str, str]:
    """Counts of the change and of the table, by the names that readers know."""
    added, deleted = change.added, change.deleted
    rows = sum(file.record_count for file in added), sum(file.record_count for file in deleted)
    sizes = sum(file.size_bytes for file in added), sum(file.size_bytes for file in deleted)
    partitions = {file.partition for file in added} | {file.partition for file in deleted}
    changed = {
        "added-data-files": len(added),
        "deleted-data-files": len(deleted),
        "added-records": rows[0],
        "deleted-records": rows[1],
        "added-files-size": sizes[0],
        "removed-files-size": sizes[1],
        "changed-partition-count": len(partitions),
    }
    totals = {
        "total-data-files": table.file_count + len(added) - len(deleted),
        "total-records": table.record_count + rows[0] - rows[1],
        "total-files-size": table.size_bytes + sizes[0] - sizes[1],
        "total-delete-files": 0,
        "total-position-deletes": 0,
        "total-equality-deletes": 0,
    }
    return {key: str(value) for key, value in ({k: v for k, v in changed.items() if v} | totals).items()}


def _expire(metadata: dict[str, Any], settings: TableSettings, now_ms: int) -> list[Garbage]:
    """Let old snapshots go; their manifest lists, each seen by its own snapshot alone."""
    snapshots = metadata["snapshots"]
    pinned = [ref["snapshot-id"] for ref in metadata["refs"].values()]
    kept = retained(snapshots, pinned, settings, now_ms)
    if len(kept) == len(snapshots):
        return []
    ids = {one["snapshot-id"] for one in kept}
    metadata["snapshots"] = kept
    # entries of kept snapshots stay on both sides of a gap: the state as of a time is the kept one before it
    metadata["snapshot-log"] = [one for one in metadata["snapshot-log"] if one["snapshot-id"] in ids]
    for key in ("statistics", "partition-statistics"):
        if key in metadata:
            metadata[key] = [one for one in metadata[key] if one["snapshot-id"] in ids]
    return [
        Garbage(one["manifest-list"], one["sequence-number"], one["sequence-number"] + 1)
        for one in snapshots
        if one["snapshot-id"] not in ids
    ]


def _log_previous(metadata: dict[str, Any], table: Table, settings: TableSettings) -> list[Garbage]:
    """Note the former metadata file; those that the log has no room for."""
    if table.before is None:
        return []
    entry = {"metadata-file": table.before, "timestamp-ms": table.metadata["last-updated-ms"]}
    log = [*metadata["metadata-log"], entry]
    keep = max(len(log) - settings.previous_metadata_max, 0)
    metadata["metadata-log"] = log[keep:]
    return [Garbage(one["metadata-file"], 0, 0) for one in log[:keep]]


def _to_merge(
    manifests: Sequence[Manifest], added: int, spec_id: int, settings: TableSettings
) -> tuple[list[Manifest], list[Manifest]]:
    """The manifests to write anew with the added files, and those to keep.

    Like the levels of a log-structured merge tree: manifests of about one size are merged when there are enough of
    them, so that an entry is rewritten log(files) times, and there are about log(files) manifests.
    """
    fan_in = settings.manifest_fan_in
    mine = [one for one in manifests if one.spec_id == spec_id and one.live < settings.manifest_files_max]
    merged: set[str] = set()
    total = added
    while True:
        alike = [one for one in mine if one.path not in merged and _level(one.live, fan_in) <= _level(total, fan_in)]
        if len(alike) + 1 < fan_in:
            break
        merged.update(one.path for one in alike)
        total += sum(one.live for one in alike)
    return [one for one in manifests if one.path in merged], [one for one in manifests if one.path not in merged]


def _level(files: int, fan_in: int) -> int:
    level = 0
    while files >= fan_in:
        files //= fan_in
        level += 1
    return level


def _check_columns(table: Table, file: DataFile) -> None:
    """A column is its id: two writers that grew a schema apart may have given one id to two columns."""
    if file.spec_id != table.spec.spec_id:
        raise Conflict("a data file was written for another partition spec", where=table.name)
    if file.columns <= table.layout.columns:
        return
    here = {id_: (name, kind) for id_, name, kind in table.layout.columns}
    for id_, name, kind in file.columns - table.layout.columns:
        have_name, have = here.get(id_, ("", None))
        if have_name != name or not widens(kind, have):
            raise Conflict(
                f"a data file was written with column {name!r} ({kind}) as number {id_}, which the table does not have",
                where=table.name, hint="evolve the newest table and write the rows again",
            )  # fmt: skip


def _new_id(table: Table) -> int:
    """A snapshot id that the table does not have."""
    taken = {one["snapshot-id"] for one in table.metadata["snapshots"]}
    while (fresh := new_snapshot_id()) in taken:
        pass
    return fresh


def _manifest_path(table: Table) -> str:
    return f"{table.location}/metadata/{new_uuid()}-m0.avro"


def _next_location(table: Table) -> str:
    """Numbered, as readers that look at a folder expect it."""
    found = re.search(r"/(\d+)-[^/]*\.metadata\.json$", table.before or "")
    return f"{table.location}/metadata/{int(found[1]) + 1 if found else 0:05d}-{new_uuid()}.metadata.json"
