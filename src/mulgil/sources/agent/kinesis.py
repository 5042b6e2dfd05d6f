"""Reads the configuration of Amazon Kinesis Agent (`agent.json`) as it is: flows become `AgentFlow`s. For the CLI.

What the keys mean: https://docs.aws.amazon.com/streams/latest/dev/writing-with-agents.html and
https://docs.aws.amazon.com/firehose/latest/dev/agent-config-settings.html; the patterns of its log formats are those of
https://github.com/awslabs/amazon-kinesis-agent (PatternConstants.java), names and order of groups included.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulgil.errors import Invalid, Missing
from mulgil.schema import Format
from mulgil.sources.agent.kinesis_logs import CSV_DELIMITERS, LogFormat, log_formats, named
from mulgil.sources.agent.settings import AgentFlow
from mulgil.sources.files import FilesSettings

IGNORED = {
    "assumeRoleARN", "assumeRoleExternalId", "awsAccessKeyId", "awsSecretAccessKey", "region", "endpoint",
    "userDefinedCredentialsProvider.classname", "userDefinedCredentialsProvider.location", "instance",
    "checkpointFile", "checkpointTimeToLiveDays", "maxConnections", "connectionTimeoutMillis", "connectionTTLMillis",
    "socketTimeoutMillis", "useTcpKeepAlive", "useHttpGzip", "maxSendingThreads", "maxSendingThreadsPerCore",
    "sendingThreadsKeepAliveMillis", "sendingThreadsMaxQueueSize", "shutdownTimeoutMillis",
}  # fmt: skip
"""Keys at the top that say how to talk to AWS or how busy to be."""
IGNORED_PREFIXES = ("cloudwatch.", "kinesis.", "firehose.", "sts.", "log.")
IGNORED_IN_FLOW = {
    "partitionKeyOption", "maxBufferAgeMillis", "maxBufferSizeBytes", "maxBufferSizeRecords",
    "minTimeBetweenFilePollsMillis", "maxTimeBetweenFileTrackerRefreshMillis", "truncatedRecordTerminator",
    "aggregatedRecordSizeBytes", "waitOnFullPublishQueueMillis", "waitOnEmptyPublishQueueMillis",
    "waitOnFullRetryQueueMillis", "retryInitialBackoffMillis", "retryMaxBackoffMillis", "publishQueueCapacity",
    "log.emitInternalMetrics",
}  # fmt: skip
"""Keys of a flow that say how to batch and retry."""
UNTRANSLATABLE = {
    "ADDMETADATA": "leave it out: each row has _source and _position; add other columns by a view",
    "ADDEC2METADATA": "leave it out: the server knows the host of each row",
    "ADDBRACKETS": "leave it out: the lake takes records without brackets",
}
PACKED = ("*.gz", "*.bz2", "*.zip")
"""Kinesis Agent passes compressed files over."""


@dataclass(frozen=True, slots=True)
class KinesisConfig:
    """What an agent.json says, in our words."""

    flows: tuple[AgentFlow, ...]
    ignored: tuple[str, ...]
    """keys that were understood and have no meaning here, like `flows[0].partitionKeyOption`"""


def read_kinesis(path: str) -> KinesisConfig:
    """Read agent.json. Raises `Missing` without the file, and `Invalid` with every mistake that is in it."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise Missing(f"cannot be read: {error.strerror}", where=path, hint="give the path of agent.json") from error
    except UnicodeDecodeError as error:
        raise Invalid("is not UTF-8", where=path) from error
    return parse_kinesis(text, path)


def parse_kinesis(text: str, where: str) -> KinesisConfig:
    """The same for its text; `where` is the file's name in messages."""
    try:
        found = json.loads(without_comments(text))
    except ValueError as error:
        raise Invalid(
            f"is not JSON: {error}", where=where, hint="comments may stand in // and /* */ and # lines"
        ) from error
    reading = _Reading()
    flows = reading.config(found)
    if reading.mistakes:
        lines = "\n".join(f"  {key}: {what} ({cure})" for key, what, cure in reading.mistakes)
        count = len(reading.mistakes)
        raise Invalid(f"{count} mistake{'s' * (count > 1)}\n{lines}", where=where)
    return KinesisConfig(tuple(flows), tuple(reading.ignored))


def without_comments(text: str) -> str:
    """Comments replaced by blanks, so that lines and columns in messages stay right."""

    def blank(match: re.Match[str]) -> str:
        piece = match.group()
        return piece if piece.startswith('"') else re.sub(r"[^\n]", " ", piece)

    return re.sub(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|^[ \t]*#[^\n]*', blank, text, flags=re.DOTALL | re.MULTILINE)


class _Reading:
    """Collects mistakes instead of stopping at the first."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[str, str, str]] = []
        self.ignored: list[str] = []

    def config(self, found: Any) -> list[AgentFlow]:
        if not isinstance(found, dict):
            self._wrong("(file)", "is not an object", '{"flows": [...]}')
            return []
        for key in found:
            if key in IGNORED or key.startswith(IGNORED_PREFIXES):
                self.ignored.append(key)
            elif key != "flows":
                self._wrong(key, "is not a key of Kinesis Agent", "leave it out")
        flows = found.get("flows")
        if not isinstance(flows, list) or not flows:
            self._wrong("flows", "is missing" if flows is None else "is not a list of flows", '"flows": [{...}]')
            return []
        read = [flow for number, one in enumerate(flows) if (flow := self._flow(f"flows[{number}]", one))]
        return self._named_apart(read)

    def _flow(self, at: str, flow: Any) -> tuple[str, dict[str, Any], Format | None] | None:
        if not isinstance(flow, dict):
            self._wrong(at, "is not an object", '{"filePattern": ..., "kinesisStream": ...}')
            return None
        before = len(self.mistakes)
        known = {
            "filePattern", "kinesisStream", "deliveryStream", "initialPosition", "multiLineStartPattern",
            "dataProcessingOptions", "skipHeaderLines", "fileFooterPattern",
        }  # fmt: skip
        for key in flow:
            if key in IGNORED_IN_FLOW:
                self.ignored.append(f"{at}.{key}")
            elif key not in known:
                self._wrong(f"{at}.{key}", "is not a key of a flow", "leave it out")
        if flow.get("fileFooterPattern"):
            self._wrong(f"{at}.fileFooterPattern", "has no meaning here", "leave it out: files are read to their end")
        stream = self._stream(at, flow)
        paths = self._paths(at, flow.get("filePattern"))
        position = flow.get("initialPosition", "END_OF_FILE")
        if position not in ("START_OF_FILE", "END_OF_FILE"):
            self._wrong(f"{at}.initialPosition", f"is {position!r}", "START_OF_FILE or END_OF_FILE")
        form, single = self._processing(at, flow)
        form = self._header(at, flow.get("skipHeaderLines", 0), form)
        settings = {
            "paths": paths,
            "exclude": PACKED,
            "start": "end" if position == "END_OF_FILE" else "beginning",
            "multiline": self._multiline(at, flow.get("multiLineStartPattern"), single),
            "format": form or Format("raw"),
        }
        return (stream, settings, form) if len(self.mistakes) == before else None

    def _stream(self, at: str, flow: dict[str, Any]) -> str:
        names = [flow[key] for key in ("kinesisStream", "deliveryStream") if key in flow]
        if len(names) != 1:
            what = "names no stream" if not names else "names both a kinesisStream and a deliveryStream"
            self._wrong(at, what, "one of them: it becomes the source's name")
        elif not isinstance(names[0], str) or not names[0]:
            self._wrong(at, f"the stream is {names[0]!r}", "a name")
        else:
            return names[0]
        return ""

    def _paths(self, at: str, pattern: Any) -> tuple[str, ...]:
        paths = pattern if isinstance(pattern, list) else [pattern]
        if not paths or not all(isinstance(path, str) and path for path in paths):
            self._wrong(
                f"{at}.filePattern", "is missing" if pattern is None else "is not a pattern", '"/var/log/x.log*"'
            )
            return ()
        for path in paths:
            if not path.startswith("/"):
                self._wrong(f"{at}.filePattern", f"{path!r} is not an absolute path", "begin it with /")
        return tuple(paths)

    def _multiline(self, at: str, pattern: Any, single: bool) -> str:
        if not pattern:
            return ""
        key = f"{at}.multiLineStartPattern"
        if not isinstance(pattern, str):
            self._wrong(key, "is not text", "a regular expression")
            return ""
        try:
            FilesSettings("check", ("/",), multiline=pattern)
        except Invalid as error:
            self._wrong(key, error.what, "use what Java and Python write alike")
        return pattern

    def _processing(self, at: str, flow: dict[str, Any]) -> tuple[Format | None, bool]:
        options = flow.get("dataProcessingOptions", [])
        at = f"{at}.dataProcessingOptions"
        if not isinstance(options, list) or not all(isinstance(option, dict) for option in options):
            self._wrong(at, "is not a list of objects", '[{"optionName": "SINGLELINE"}]')
            return None, False
        form, single = None, False
        for number, option in enumerate(options):
            here, name = f"{at}[{number}]", option.get("optionName")
            if name == "SINGLELINE":
                single = True
                self._keys(here, option, set())
            elif name in ("CSVTOJSON", "LOGTOJSON"):
                if form is not None:
                    self._wrong(here, "is a second conversion", "keep one of CSVTOJSON and LOGTOJSON")
                form = self._csv(here, option) if name == "CSVTOJSON" else self._log(here, option)
            elif name in UNTRANSLATABLE:
                self._wrong(here, f"{name} is not done here", UNTRANSLATABLE[name])
            else:
                self._wrong(f"{here}.optionName", f"is {name!r}", "SINGLELINE, CSVTOJSON or LOGTOJSON")
        if single and form is None:
            form = Format("json")  # what SINGLELINE is for: JSON over several lines
        return form, single

    def _csv(self, at: str, option: dict[str, Any]) -> Format:
        self._keys(at, option, {"customFieldNames", "delimiter", "jsonFormat"})
        names = self._names(at, option)
        if names is None:
            self._wrong(f"{at}.customFieldNames", "is missing", "the columns' names, in their order")
        delimiter = option.get("delimiter", ",")
        if delimiter not in CSV_DELIMITERS and not (isinstance(delimiter, str) and len(delimiter) == 1):
            self._wrong(f"{at}.delimiter", f"is {delimiter!r}", "one character, or \\\\t for a tab")
            delimiter = ","
        return Format("csv", fields=names or ("x",), delimiter=CSV_DELIMITERS.get(delimiter, delimiter))

    def _log(self, at: str, option: dict[str, Any]) -> Format | None:
        self._keys(at, option, {"logFormat", "matchPattern", "customFieldNames", "jsonFormat"})
        known: LogFormat | None = log_formats().get(option.get("logFormat", ""))
        if known is None:
            self._wrong(f"{at}.logFormat", f"is {option.get('logFormat')!r}", ", ".join(log_formats()))
            return None
        names, pattern = self._names(at, option), option.get("matchPattern")
        if pattern is None:
            if names is None:
                return Format(known.kind) if known.kind else Format("regex", pattern=named(known.pattern, known.fields))
            if len(names) != len(known.fields):
                what = f"has {len(names)} names for the {len(known.fields)} fields {', '.join(known.fields)}"
                self._wrong(f"{at}.customFieldNames", what, "name each, or give a matchPattern")
                return None
            if known.kind in ("common", "combined"):
                return Format(known.kind, fields=names)
            return self._regex(at, known.pattern, names)
        if names is None:
            self._wrong(f"{at}.customFieldNames", "is missing", "matchPattern needs a name for each of its groups")
            return None
        if not isinstance(pattern, str):
            self._wrong(f"{at}.matchPattern", "is not text", "a regular expression")
            return None
        return self._regex(f"{at}.matchPattern", pattern, names)

    def _regex(self, at: str, pattern: str, names: tuple[str, ...]) -> Format | None:
        try:
            return Format("regex", pattern=named(pattern, names))
        except Invalid as error:
            self._wrong(at, error.what, error.hint)
            return None

    def _header(self, at: str, lines: Any, form: Format | None) -> Format | None:
        if lines in (0, None):
            return form
        if lines == 1 and form is not None and form.kind == "csv":
            return Format("csv", fields=form.fields, delimiter=form.delimiter, header=True)
        self._wrong(
            f"{at}.skipHeaderLines", f"is {lines!r}", "1 with CSVTOJSON; else leave it out: such lines are kept"
        )
        return form

    def _names(self, at: str, option: dict[str, Any]) -> tuple[str, ...] | None:
        names = option.get("customFieldNames")
        if names is None:
            return None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            self._wrong(f"{at}.customFieldNames", "is not a list of names", '["a", "b"]')
            return ("x",)
        if len(set(names)) < len(names):
            self._wrong(f"{at}.customFieldNames", "names a column twice", "each name once")
        return tuple(names)

    def _keys(self, at: str, option: dict[str, Any], known: set[str]) -> None:
        for key in option:
            if key not in known | {"optionName"}:
                self._wrong(f"{at}.{key}", f"is not a key of {option['optionName']}", "leave it out")
        if "jsonFormat" in option:
            self.ignored.append(f"{at}.jsonFormat")

    def _named_apart(self, read: list[tuple[str, dict[str, Any], Format | None]]) -> list[AgentFlow]:
        """A flow is called by its stream, or by stream and pattern where streams repeat."""
        streams = [stream for stream, _, _ in read]
        flows: dict[str, AgentFlow] = {}
        for stream, settings, form in read:
            name = stream if streams.count(stream) == 1 else f"{stream}:{','.join(settings['paths'])}"
            if name in flows:
                self._wrong("flows", f"two read {', '.join(settings['paths'])} into {stream}", "leave one out")
            flows[name] = AgentFlow(stream, FilesSettings(name=name, **settings), form)
        return list(flows.values())

    def _wrong(self, key: str, what: str, cure: str) -> None:
        self.mistakes.append((key, what, cure))
