"""Builds the parts and hands them to each other. Nothing else in the house makes components of other rooms."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

from mulgil import catalog, delivery, query, sources, state, storage, stream, table
from mulgil.app.books import books, schema_events
from mulgil.app.lake import Lake
from mulgil.app.project_lock import ProjectLock
from mulgil.app.settings import AgentSourceSettings, AnySource, FilesSourceSettings, HttpSourceSettings, ProjectSettings
from mulgil.clock import Clock, SystemClock
from mulgil.errors import Invalid
from mulgil.record import Source
from mulgil.schema import Format
from mulgil.sources import collector, files
from mulgil.telemetry import Log, Metrics

DAY_S = 86_400


def open_lake(project: ProjectSettings, clock: Clock | None = None) -> Lake:
    """State and tables of a project, made where they are missing.

    Raises `Invalid` where the tables lie in another lake: a copy of a project would change the first one's files.
    """
    database = state.Database(project.state)
    tables = catalog.Catalog(database, storage.LocalStore(), str(project.lake))
    tables.declare()
    if (stray := tables.elsewhere()) is not None:
        database.close()
        raise Invalid(
            f"{stray[0]} lies in {stray[1]}, not in this project's lake",
            where=str(project.lake),
            hint="a project that was moved goes back to its place, since its tables name their files by absolute paths",
        )
    delivery.declare(database)
    settings = table.TableSettings(
        file_bytes_target=project.delivery.file_mb * 2**20,
        snapshots_max=project.delivery.snapshots,
        snapshots_recent=max(1, project.delivery.snapshots // 2),
    )
    return Lake(project, clock or SystemClock(), database, tables, settings)


def target_of(source: AnySource) -> delivery.Target:
    """Where a source's records land, as delivery wants it."""
    http = source if isinstance(source, HttpSourceSettings) else None
    return delivery.Target(
        table=source.table,
        format=Format() if isinstance(source, HttpSourceSettings) else source.format,
        time=source.time,
        strict=source.schema == "strict",
        columns=source.columns,
        partition=source.partition,
        event_id=http.event_id if http else None,
        remember_days=math.ceil(source.remember_s / DAY_S),
    )


class Line:
    """All flows of a project, with the streams they read from. Only one process may have it."""

    def __init__(self, lake: Lake, metrics: Metrics, log: Log) -> None:
        """Raises `Conflict` when another process runs the project."""
        self.lake = lake
        self.metrics = metrics
        self.log = log
        self._lock = ProjectLock(lake.project.state)
        self.streams: dict[str, stream.EmbeddedStream] = {}
        self.flows: dict[str, delivery.Flow] = {}
        try:
            storage.LocalStore().sweep_unfinished(str(lake.project.lake))
            for name, source in lake.project.sources.items():  # locked before the epoch fences anybody off
                if not isinstance(source, FilesSourceSettings):
                    self.streams[name] = open_stream(lake, name, source)
            self.epoch = state.Epoch.take(lake.database, "delivery")
            self.committer = delivery.Committer(
                lake.database, lake.catalog, self.epoch, lake.table_settings, lake.clock
            )
            for name, source in lake.project.sources.items():
                self.flows[name] = self._flow(name, source)
        except BaseException:
            self.close()
            raise

    def care(self, grace_s: float) -> catalog.Care:
        """Compaction and sweeping under this line's epoch."""
        lake = self.lake
        return catalog.Care(
            lake.catalog, lake.database, lake.table_settings, lake.clock, grace_s=grace_s, fence=self.epoch.check
        )

    def close(self) -> None:
        """Close sources and streams, and let another process have the project."""
        with ExitStack() as all_of_it:
            all_of_it.callback(self._lock.release)
            for one in self.streams.values():
                all_of_it.callback(one.close)
            for flow in self.flows.values():
                all_of_it.callback(flow.source.close)

    def _flow(self, name: str, source: AnySource) -> delivery.Flow:
        lake, target = self.lake, target_of(source)
        seen = None
        if target.event_id is not None:
            folder = seen_folder(lake.project, name)
            seen = delivery.Seen(lake.database, storage.LocalStore(), folder, name, target.remember_days)
            seen.sweep(lake.clock.now_us())
        return delivery.Flow(
            self._source(name, source),
            target,
            catalog=lake.catalog,
            database=lake.database,
            committer=self.committer,
            seen=seen,
            settings=delivery.DeliverySettings(visible_ms=lake.project.delivery.visible_ms),
            clock=lake.clock,
            metrics=self.metrics,
            log=self.log,
        )

    def _source(self, name: str, source: AnySource) -> Source:
        if isinstance(source, FilesSourceSettings):
            return files.FilesSource(files_settings(name, source), self.lake.clock)
        return sources.StreamSource(name, self.streams[name])


def open_stream(lake: Lake, name: str, source: HttpSourceSettings | AgentSourceSettings) -> stream.EmbeddedStream:
    """The stream of one source, with delivery's checkpoints."""
    declared = lake.project.stream
    shards = source.shards if isinstance(source, HttpSourceSettings) and source.shards else declared.shards
    settings = stream.StreamSettings(
        shards=shards,
        retention_hours=declared.retention_s / 3600,
        retention_bytes=declared.size_bytes,
        disk_free_bytes_min=lake.project.limits.disk_free_mb * 2**20,
    )
    parts = delivery.positions.load(lake.database, name)
    marks = {part: position.place for part, position in parts.items() if position.unit == "record"}
    return stream.EmbeddedStream(
        declared.path / name, settings, lake.clock, readers={sources.READER: sources.checkpoints(marks, shards)}
    )


def files_settings(name: str, source: FilesSourceSettings) -> files.FilesSettings:
    """A files source as its room wants it."""
    return files.FilesSettings(
        name=name,
        paths=source.path,
        exclude=source.exclude,
        start=source.start,
        format=source.format,
        multiline=source.multiline or "",
    )


def build_door(line: Line, keyring: state.KeyRing, **hooks: object) -> collector.Door:
    """The HTTP door before a line's streams."""
    project = line.lake.project
    settings = collector_settings(project)
    http = [name for name, source in project.sources.items() if isinstance(source, HttpSourceSettings)]
    endpoints = []
    for name, source in project.sources.items():
        if isinstance(source, HttpSourceSettings):
            measured = source.ga4_collect or http == [name]
            endpoints.append(collector.EndpointSettings(name, cors=source.cors, measurement_protocol=measured))
        elif isinstance(source, AgentSourceSettings):
            endpoints.append(collector.EndpointSettings(name, takes="files"))
    shipped = {
        name: sources.shipped(line.streams[name], line.flows[name].places())
        for name, source in project.sources.items()
        if isinstance(source, AgentSourceSettings)
    }

    def stored(source: str, generation: str) -> int:
        place = delivery.positions.place_of(line.lake.database, source, generation)
        return max(place, shipped[source].get(generation, 0))

    needs_key = not collector.is_loopback(settings.host)

    def allowed(key: str, grant: str) -> bool:
        return (not needs_key and keyring.is_empty()) or keyring.allows(key, grant)

    return collector.Door(
        settings,
        endpoints,
        line.streams,
        key_check=allowed,
        clock=line.lake.clock,
        metrics=line.metrics,
        log=line.log,
        receipts=collector.Receipts(stored),
        **hooks,  # type: ignore[arg-type]
    )


def collector_settings(project: ProjectSettings) -> collector.CollectorSettings:
    """Where and how the door listens."""
    return collector.CollectorSettings(
        host=project.listen.host,
        port=project.listen.port,
        certificate=project.tls.cert if project.tls else None,
        private_key=project.tls.key if project.tls else None,
        body_bytes_max=project.limits.body_mb * 2**20,
    )


def seen_folder(project: ProjectSettings, source: str) -> Path:
    """Where event ids of a source lie: beside the state, since they belong to it."""
    return project.state.with_name(project.state.name + ".seen") / source


def open_engine(lake: Lake) -> query.Engine:
    """SQL over the lake, and over the books: `mulgil.ledger`, `mulgil.schema_event`."""
    relations = {"mulgil.ledger": lambda: books(lake), "mulgil.schema_event": lambda: schema_events(lake)}
    settings = query.QuerySettings(memory_bytes_max=lake.project.limits.memory_mb * 2**20)
    expected = sorted({source.table for source in lake.project.sources.values()})
    return query.Engine(lake.catalog, relations=relations, expected=expected, settings=settings, clock=lake.clock)
