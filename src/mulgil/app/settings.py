"""The project's settings: what mulgil.yaml may say, as frozen dataclasses, and the one place that reads it.

This module alone reads the project file and the environment. The dataclasses are the file's shape: their docstrings
become the reference page and the JSON Schema (`docs/generate.py`), their types are checked by pydantic, and whatever is
wrong is reported all at once, each with its line (`project_check`). `wiring.py` turns them into the rooms' settings.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from mulgil.app import project_check, project_file
from mulgil.app.format_setting import FormatText
from mulgil.app.mistake import ProjectInvalid
from mulgil.app.setting_types import (
    REFUSE_UNKNOWN,
    ColumnName,
    ColumnType,
    Duration,
    EngineText,
    EventId,
    Expression,
    Glob,
    Listen,
    ListenAddress,
    Megabytes,
    Milliseconds,
    OneOrMore,
    Origin,
    PartitionField,
    Size,
    SourceName,
    TableName,
    Truth,
    Whole,
    folder_or_section,
    local_path,
)
from mulgil.errors import Missing
from mulgil.schema import Format

PROJECT_FILE = "mulgil.yaml"
LOOPBACK = ListenAddress("127.0.0.1", 7410)


@dataclass(frozen=True, kw_only=True)
class TlsSection:
    """A certificate, so that the HTTP door speaks TLS."""

    __pydantic_config__ = REFUSE_UNKNOWN

    cert: Annotated[Path, local_path("path"), Field(examples=["./tls/cert.pem"])]
    """The certificate with its chain, in PEM."""
    key: Annotated[Path, local_path("path"), Field(examples=["./tls/key.pem"])]
    """Its private key, in PEM."""


@dataclass(frozen=True, kw_only=True)
class StreamSection:
    """The durable log that keeps what cannot be asked for again: HTTP requests and what agents send."""

    __pydantic_config__ = REFUSE_UNKNOWN

    path: Annotated[Path, local_path("stream")] = Path("stream")
    """The folder in which the stream lies, one folder in it for each source."""
    shards: Annotated[Whole, Field(ge=1, le=256)] = 1
    """Into how many ordered parts each source's stream is cut, unless the source says otherwise."""
    retention_s: Annotated[float, Duration, Field(alias="retention", examples=["24h"])] = 86400.0
    """For how long records are kept after they arrived. What is not in the lake yet is kept longer."""
    size_bytes: Annotated[int | None, Size, Field(alias="size", examples=["10GB"])] = None
    """How much each source's stream may hold; unread records are kept beyond it. Not given: as much as there is."""


@dataclass(frozen=True, kw_only=True)
class DeliverySection:
    """The way from sources to tables."""

    __pydantic_config__ = REFUSE_UNKNOWN

    visible_ms: Annotated[int, Milliseconds, Field(strict=True, ge=50, le=3_600_000)] = 500
    """A record waits about so long before its commit begins: how fresh queries are."""
    file_mb: Annotated[int, Megabytes, Field(strict=True, ge=1, le=4096)] = 128
    """How large compaction makes data files: how fast old data is read. Has no influence on freshness."""
    snapshots: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    """How many snapshots of each table are kept."""


@dataclass(frozen=True, kw_only=True)
class LimitsSection:
    """Where the server says no, so that it stays up."""

    __pydantic_config__ = REFUSE_UNKNOWN

    body_mb: Annotated[int, Megabytes, Field(strict=True, ge=1, le=64)] = 16
    """The largest request body, before and after it is decompressed. Larger ones get 413."""
    memory_mb: Annotated[int, Megabytes, Field(strict=True, ge=128)] = 1024
    """How much memory SQL may use before it spills to the disk."""
    disk_free_mb: Annotated[int, Megabytes, Field(strict=True, ge=0)] = 512
    """While the disk has less free than this, requests get 503 with Retry-After."""
    lag_mb: Annotated[int, Megabytes, Field(strict=True, ge=1)] = 4096
    """While more than this of a source waits for the lake, its requests get 429 with Retry-After."""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What every source says."""

    __pydantic_config__ = REFUSE_UNKNOWN

    table: TableName
    """Where its records land: `database.table`. Two sources may share a table."""
    time: Annotated[str | None, Field(examples=["event_time"])] = None
    """The column that says when the record's event happened. Not given: found in the first records."""
    schema: Literal["evolve", "strict"] = "evolve"
    """`evolve`: new keys become columns, values that do not fit go to `_rescued`. `strict`: such records go to
    quarantine."""
    partition: Annotated[tuple[PartitionField, ...], OneOrMore, Field(min_length=1, examples=["day(event_time)"])] = ()
    """Iceberg transforms of columns, one or a list. Not given: by day of the time column."""
    columns: Annotated[Mapping[ColumnName, ColumnType], Field(examples=[{"price": "double"}])] = field(
        default_factory=dict
    )
    """Types of columns that should not be found out from the data."""
    remember_s: Annotated[float, Duration, Field(alias="remember", examples=["7d"])] = 604800.0
    """For how long idempotency keys and event ids are remembered, so that what is sent again is not doubled; counted in
    whole days."""


@dataclass(frozen=True, kw_only=True)
class HttpSourceSettings(SourceSettings):
    """Events posted to `/v1/<source>`: one JSON object, an array, or one object a line."""

    type: Literal["http"] = "http"
    """`http`"""
    cors: Annotated[tuple[Origin, ...], OneOrMore, Field(examples=[["https://www.example.com"]])] = ()
    """Origins whose pages may post from a browser; `"*"`: all."""
    event_id: Annotated[str | None, EventId] = "event_id"
    """The key whose value names an event, so that one that is sent twice lands once; `false`: no such key."""
    shards: Annotated[Whole | None, Field(ge=1, le=256)] = None
    """Into how many ordered parts this source's stream is cut. Not given: as `stream.shards` says."""
    ga4_collect: Truth = False
    """Takes Google Analytics' Measurement Protocol at `/mp/collect`. A project's only http source does so anyway."""


@dataclass(frozen=True, kw_only=True)
class FilesSourceSettings(SourceSettings):
    """Files of this machine, followed while they grow and rotate."""

    type: Literal["files"] = "files"
    """`files`"""
    path: Annotated[tuple[Glob, ...], OneOrMore, Field(min_length=1, examples=["/var/log/nginx/access.log*"])]
    """Which files: a pattern with `*`, `?`, `[…]`, `{a,b}` and `**`, or a list of them."""
    exclude: Annotated[tuple[Glob, ...], OneOrMore, Field(examples=["*.tmp"])] = ()
    """Which of them to leave out: patterns that match the whole path, or the name where they have no slash."""
    format: FormatText = field(default_factory=Format)
    """What the records are written in, alone or with options."""
    start: Literal["beginning", "end"] = "beginning"
    """Where to begin in files that are seen for the first time when the source is new."""
    multiline: Annotated[Expression | None, Field(examples=["^\\d{4}-\\d{2}-\\d{2} "])] = None
    """The expression that a record's first line matches; the lines after it belong to it. Not given: every line."""


@dataclass(frozen=True, kw_only=True)
class AgentSourceSettings(SourceSettings):
    """Files of other machines, shipped by `mulgil agent`."""

    type: Literal["agent"] = "agent"
    """`agent`"""
    format: FormatText = field(default_factory=Format)
    """What the records are written in, unless the agent says otherwise."""


AnySource = HttpSourceSettings | FilesSourceSettings | AgentSourceSettings


@dataclass(frozen=True, kw_only=True)
class ProjectDeclaration:
    """mulgil.yaml: everything a project declares. Paths are relative to the file."""

    __pydantic_config__ = REFUSE_UNKNOWN

    lake: Annotated[Path, local_path("lake")] = Path("lake")
    """The folder in which tables' files live."""
    state: Annotated[Path, local_path("state")] = Path("state.db")
    """The SQLite file with the facts that must change together."""
    stream: Annotated[StreamSection, folder_or_section(StreamSection)] = field(default_factory=StreamSection)
    """The folder of the stream, or the folder with its options."""
    query: Annotated[Literal["duckdb"], EngineText] = "duckdb"
    """The engine that answers SQL."""
    listen: Listen = LOOPBACK
    """Address and port of the HTTP door. Any other than loopback asks for keys. With `files` sources alone, the door
    opens only where this is given."""
    tls: TlsSection | None = None
    """Certificate and key of the HTTP door. Not given: plain HTTP."""
    delivery: DeliverySection = field(default_factory=DeliverySection)
    """How records get into tables."""
    limits: LimitsSection = field(default_factory=LimitsSection)
    """Where the server says no."""
    sources: Annotated[
        Mapping[SourceName, Annotated[AnySource, Field(discriminator="type")]],
        Field(min_length=1, examples=[{"web": {"type": "http", "table": "bronze.web"}}]),
    ]
    """Where data comes from: a map from a source's name to what it is."""


@dataclass(frozen=True, kw_only=True)
class ProjectSettings(ProjectDeclaration):
    """A project as it is run: every path absolute."""

    folder: Path
    """The folder that holds the project file."""
    file: Path
    """The project file."""
    has_door: bool = True
    """The HTTP door opens: a source takes requests, or the project file says where to `listen`."""


def find_project(folder: Path | None = None) -> Path:
    """The project file of a folder; without one, that of the current folder or the nearest above it.

    `folder` may be the file itself. Raises `Missing`.
    """
    if folder is not None and folder.is_file():
        return folder.absolute()
    here = (folder or Path.cwd()).absolute()
    for one in [here] if folder is not None else [here, *here.parents]:
        if (one / PROJECT_FILE).is_file():
            return one / PROJECT_FILE
    hint = "`mulgil init DIR` makes a project, --project DIR names one"
    if (here / "mulgil.yml").is_file():
        hint = f"there is a mulgil.yml: rename it to {PROJECT_FILE}"
    where = "here or in a folder above" if folder is None else "in this folder"
    raise Missing(f"no {PROJECT_FILE} {where}", where=str(here), hint=hint)


def load_project(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> ProjectSettings:
    """Read and check the project; `environment` fills in `${VAR}` and is the process's own unless given.

    Raises `Missing` where there is no project, `ProjectInvalid` with all mistakes.
    """
    file = find_project(folder)
    shown = str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        raise Missing(f"the project file cannot be read: {reason}", where=shown) from error
    document = project_file.read(text, shown, os.environ if environment is None else environment)
    declared = _declared(document)
    if document.mistakes or declared is None:
        raise ProjectInvalid(shown, document.mistakes)
    given = {one.name: getattr(declared, one.name) for one in fields(declared)}
    has_door = ("listen",) in document.keys or any(one.type != "files" for one in declared.sources.values())
    return _absolute(ProjectSettings(folder=file.parent, file=file, has_door=has_door, **given))


def _declared(document: project_file.Document) -> ProjectDeclaration | None:
    """What the document declares; its mistakes are noted in it."""
    tree: Any = project_check.before(document, ProjectDeclaration)
    if tree is None:
        return None
    try:
        return TypeAdapter(ProjectDeclaration).validate_python(tree)
    except ValidationError as error:
        project_check.explain(document, error, ProjectDeclaration)
        return None


def _absolute(project: ProjectSettings) -> ProjectSettings:
    """Paths are relative to the project file."""

    def path(given: Path) -> Path:
        return project.folder / given.expanduser()

    def pattern(given: str) -> str:
        text = os.path.expanduser(given)  # noqa: PTH111 (a pattern, not a path)
        return text if text.startswith("/") else f"{glob.escape(str(project.folder))}/{text.removeprefix('./')}"

    def source(given: AnySource) -> AnySource:
        if not isinstance(given, FilesSourceSettings):
            return given
        exclude = tuple(pattern(one) if "/" in one else one for one in given.exclude)
        return replace(given, path=tuple(map(pattern, given.path)), exclude=exclude)

    return replace(
        project,
        lake=path(project.lake),
        state=path(project.state),
        stream=replace(project.stream, path=path(project.stream.path)),
        tls=project.tls and TlsSection(cert=path(project.tls.cert), key=path(project.tls.key)),
        sources={name: source(one) for name, one in project.sources.items()},
    )
