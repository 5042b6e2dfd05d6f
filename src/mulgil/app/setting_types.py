"""The values a setting may take, as types that pydantic checks: a table's name, a duration, a glob, a format.

Called by `settings.py` alone. Each type says in plain words what is wrong and what would be right (`wrong`). Words that
depend on the value go into `detail`, which is left out when the value came from the environment.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetPydanticSchema, Strict
from pydantic_core import PydanticCustomError

from mulgil.app.project_file import Substituted
from mulgil.app.quantity import DURATION_PATTERN, SIZE_PATTERN, duration_s, size_bytes
from mulgil.schema import DECLARED_TYPES, RESERVED

REFUSE_UNKNOWN = ConfigDict(extra="forbid")
"""What every settings dataclass says to pydantic: an unknown key is a mistake."""

TRANSFORMS = ("identity", "year", "month", "day", "hour", "bucket", "truncate")
"""Iceberg's partition transforms (https://iceberg.apache.org/spec/#partition-transforms)."""
PARTITION_PATTERN = r"^\s*([A-Za-z]+\s*\((\s*[1-9][0-9]*\s*,)?[^(),]+\)|[^(),\s]+)\s*$"

NOT_IN_THIS_VERSION = {
    "path": "write a path of this machine",
    "lake": "the lake is a folder of this machine: write a path such as ./lake",
    "state": "the state is a SQLite file: write a path such as ./state.db",
    "stream": "the stream is a folder of this machine: write a path such as ./stream",
    "query": "SQL runs on the embedded engine: write duckdb",
    "files": "files are read from this machine: write a path, or ship them from where they are with `mulgil agent`",
}
_TYPE_WORDS = {
    "bool": "boolean",
    "integer": "int",
    "int32": "int",
    "bigint": "long",
    "int64": "long",
    "number": "double",
    "real": "float",
    "text": "string",
    "str": "string",
    "varchar": "string",
    "datetime": "timestamptz",
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def wrong(what: str, cure: str, detail: str = "", *, at: str = "") -> PydanticCustomError:
    """The error to raise: `what` follows the value (`"x" is not …`) or is a sentence of its own.

    `detail` (from the value) replaces the cure; `at` is the key below the value that is to blame. It is a `ValueError`.
    """
    return PydanticCustomError("mulgil", "{what}", {"what": what, "cure": cure, "detail": detail, "at": at})


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """`did you mean "x"?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def _no_scheme(kind: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if scheme := _SCHEME.match(text):
            # the value is not said: a URL may hold a password
            raise wrong(f"{scheme[1].lower()}:// is not in this version", NOT_IN_THIS_VERSION[kind])
        if not text.strip():
            raise wrong("is empty", "write a path")
        return text

    return check


def local_path(kind: str) -> Any:
    """What makes a path of this machine out of a text."""
    return BeforeValidator(
        lambda value: Path(_no_scheme(kind)(value)) if isinstance(value, str) else value, json_schema_input_type=str
    )


def folder_or_section(section: type) -> Any:
    """A text is the section's `path`."""
    return BeforeValidator(
        lambda value: {"path": value} if isinstance(value, str) else value, json_schema_input_type=str | section
    )


def _event_id(value: Any) -> Any:
    return None if _from_environment(value) is False else value


EventId = BeforeValidator(_event_id, json_schema_input_type=str | Literal[False])
"""A key's name, or `false` for none."""


def _engine(value: Any) -> Any:
    return _no_scheme("query")(value) if isinstance(value, str) else value


EngineText = BeforeValidator(_engine)


def _from_environment(value: Any) -> Any:
    """A number or a boolean that `${VAR}` brought is a text so far."""
    if isinstance(value, Substituted):
        if re.fullmatch(r"[+-]?[0-9]+", value):
            return int(value)
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
    return value


Whole = Annotated[int, Strict(), BeforeValidator(_from_environment)]
Truth = Annotated[bool, Strict(), BeforeValidator(_from_environment)]


def _duration(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise wrong("has no unit", f"write {value}s, {value}h or {value}d")
    try:
        return duration_s(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("is not a duration", "write a number and ms, s, m, h, d or w, such as 7d") from None


def _size(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong("has no unit", f"write {value}MB or {value}GB")
    try:
        return size_bytes(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("is not a size", "write a number and KB, MB or GB, such as 64MB") from None


def _in_unit(parse: Callable[[str], float], one: float, cure: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        value = _from_environment(value)
        if not isinstance(value, str):
            return value
        try:
            amount = parse(value) / one
        except ValueError:
            raise wrong("is not a number", cure) from None
        if amount != int(amount):
            raise wrong("is not a whole number of the unit in the key's name", cure)
        return int(amount)

    return read


Duration = BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=DURATION_PATTERN)])
Size = BeforeValidator(_size, json_schema_input_type=Annotated[str, Field(pattern=SIZE_PATTERN)])
Milliseconds = BeforeValidator(
    _in_unit(duration_s, 0.001, "write milliseconds, such as 500"),
    json_schema_input_type=int | Annotated[str, Field(pattern=DURATION_PATTERN)],
)
Megabytes = BeforeValidator(
    _in_unit(lambda text: float(size_bytes(text)), 1e6, "write megabytes, such as 128"),
    json_schema_input_type=int | Annotated[str, Field(pattern=SIZE_PATTERN)],
)


def _table(text: str) -> str:
    if not TABLE_NAME.match(text):
        cure = "write database.table in small letters, digits and underscores, such as bronze.web"
        better = re.sub(r"[^a-z0-9_.]", "_", text.strip().lower())
        raise wrong("is not a table name", cure, f'did you mean "{better}"?' if TABLE_NAME.match(better) else "")
    if text.endswith("__quarantine"):
        raise wrong("is the name of a quarantine table, which Mulgil writes itself", "choose another name")
    if text.startswith("mulgil."):
        raise wrong("is in the database of Mulgil's own books", "choose another database, such as bronze")
    return text


TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,126}\.[a-z][a-z0-9_]{0,126}\Z")
"""The same that the catalog asks of a name (a test compares them; importing the catalog costs the Iceberg library)."""
TableName = Annotated[
    str,
    AfterValidator(_table),
    Field(examples=["bronze.web"], json_schema_extra={"pattern": r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"}),
]


_SOURCE = r"[A-Za-z][A-Za-z0-9_.-]{0,127}"
"""What Kinesis allows for a stream, so that an agent.json's names are names of sources; and it is safe as a folder."""


def _source_name(text: str) -> str:
    if not re.fullmatch(_SOURCE, text):
        better = re.sub(r"[^A-Za-z0-9_.-]", "_", text.strip())
        good = re.fullmatch(_SOURCE, better)
        cure = "a source's name is letters, digits, _, . and -, a letter first"
        raise wrong("is not a name for a source", cure, f'did you mean "{better}"?' if good else "")
    return text


SourceName = Annotated[str, AfterValidator(_source_name)]


def _declared_column(text: str) -> str:
    if text in RESERVED:
        raise wrong("is a column that Mulgil writes itself", "declare your own columns only")
    return text


def _declared_type(text: str) -> str:
    if text not in DECLARED_TYPES:
        cure = f"one of {', '.join(DECLARED_TYPES)}"
        word = _TYPE_WORDS.get(text.lower())
        raise wrong(
            "is not a column type", cure, f'did you mean "{word}"?' if word else nearest(text, list(DECLARED_TYPES))
        )
    return text


ColumnName = Annotated[str, AfterValidator(_declared_column)]
ColumnType = Annotated[str, AfterValidator(_declared_type), Field(json_schema_extra={"enum": list(DECLARED_TYPES)})]


def _partition_field(text: str) -> str:
    if not re.match(PARTITION_PATTERN, text):
        raise wrong("is not a partition", "write a column or a transform of one, such as day(event_time)")
    name, opened, rest = text.strip().partition("(")
    if not opened:
        return name
    name = name.strip().lower()
    if name.removesuffix("s") not in TRANSFORMS:
        cure = f"one of {', '.join(TRANSFORMS)}"
        raise wrong("is not a partition: no such transform", cure, nearest(name, TRANSFORMS))
    number, comma, column = rest.rpartition(",")
    if (name in ("bucket", "truncate")) != bool(comma):
        cure = "bucket and truncate take a number and a column, such as bucket(16, user_id); the others a column"
        raise wrong("is not a partition", cure)
    column = column.removesuffix(")").strip()
    return f"{name}({number.strip()}, {column})" if comma else f"{name}({column})"


def as_list(value: Any) -> Any:
    """One text where a list may stand."""
    return (value,) if isinstance(value, str) else value


OneOrMore = BeforeValidator(as_list, json_schema_input_type=str | list[str])
PartitionField = Annotated[str, AfterValidator(_partition_field)]


def _glob(text: str) -> str:
    _no_scheme("files")(text)
    if text.count("{") != text.count("}"):
        raise wrong("is not a path pattern: a brace without its other one", "write {access,error}.log, or a list")
    if text.endswith("/"):
        raise wrong("is a folder", "write which files of it, such as /var/log/nginx/access.log*")
    for step in text.split("/"):
        if "**" in step and step != "**":
            raise wrong("is not a path pattern: ** stands alone between slashes", "write logs/**/*.log")
        if "[" in re.sub(r"\[!?\]?[^\]]*\]", "", step):
            raise wrong(
                "is not a path pattern: a [ that is not closed", "close it, or write [[] for the bracket itself"
            )
    return text


Glob = Annotated[str, AfterValidator(_glob)]


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"https?://[^/\s*?#@]+", text):
        better = re.match(r"https?://[^/\s*?#@]+", text) or re.match(r"()[a-z0-9.-]+\.[a-z]+(:\d+)?$", text)
        hint = f'did you mean "{better[0] if "://" in better[0] else "https://" + better[0]}"?' if better else ""
        raise wrong("is not an origin", 'write scheme and host only, such as https://www.example.com, or "*"', hint)
    return text


Origin = Annotated[str, AfterValidator(_origin)]


def compiled(text: str, at: str = "") -> re.Pattern[str]:
    """The expression; raises the mistake where it cannot be read."""
    try:
        return re.compile(text)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        cure = "named groups are written (?P<name>…)" if "(?<" in text or "(?'" in text else ""
        what = f"the {at} is not a regular expression" if at else "is not a regular expression"
        raise wrong(what, cure, cure or f"{error.msg}{place}", at=at) from None


def _expression(text: str) -> str:
    if not text:
        raise wrong("is empty", "write the expression that a record's first line matches")
    compiled(text)
    return text


Expression = Annotated[str, AfterValidator(_expression)]


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the HTTP door listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: Any) -> Any:
    if isinstance(value, ListenAddress):
        return value
    cure = "write host:port, such as 127.0.0.1:7410"
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong("is a port without a host", cure, f"write 127.0.0.1:{value}" if 0 <= value < 65536 else "")
    if not isinstance(value, str):
        raise wrong("is not an address", cure)
    if match := _SCHEME.match(value):
        raise wrong("is a URL", cure, f"write {value[match.end() :].rstrip('/')}")
    parts = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", value)
    if parts is None or int(parts[2]) > 65535:
        raise wrong("is not an address", cure)
    return ListenAddress(parts[1].strip("[]"), int(parts[2]))


Listen = Annotated[
    ListenAddress,
    GetPydanticSchema(
        lambda _source, handler: handler.generate_schema(
            Annotated[Any, BeforeValidator(_listen, json_schema_input_type=Annotated[str, Field(pattern=r":[0-9]+$")])]
        )
    ),
]
