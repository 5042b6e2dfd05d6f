"""Kinesis Agent's own configuration: what becomes of each key, and every mistake named at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulgil.errors import Invalid, Missing
from mulgil.schema import Format
from mulgil.sources.agent import parse_kinesis, read_kinesis

FULL = r"""
// the agent of the web hosts
{
  "cloudwatch.emitMetrics": true,
  "kinesis.endpoint": "https://kinesis.eu-west-1.amazonaws.com", # not used here
  "awsAccessKeyId": "AKIA", /* nor
     this */ "maxSendingThreads": 4,
  "flows": [
    {
      "filePattern": "/var/log/nginx/access.log*",
      "kinesisStream": "access",
      "partitionKeyOption": "RANDOM",
      "initialPosition": "START_OF_FILE",
      "dataProcessingOptions": [{"optionName": "LOGTOJSON", "logFormat": "COMBINEDAPACHELOG"}]
    },
    {
      "filePattern": ["/tmp/a{1,2}.csv", "/tmp/b//c.csv"],
      "deliveryStream": "table",
      "skipHeaderLines": 1,
      "dataProcessingOptions": [
        {"optionName": "CSVTOJSON", "customFieldNames": ["a", "b"], "delimiter": "\\t", "jsonFormat": "COMPACT"}]
    },
    {
      "filePattern": "/tmp/app.log",
      "deliveryStream": "app",
      "multiLineStartPattern": "\\{$",
      "dataProcessingOptions": [{"optionName": "SINGLELINE"}]
    },
    {"filePattern": "/tmp/other.log", "deliveryStream": "app"}
  ]
}
""".replace("# not used here", "\n# not used here\n")


def flow_of(options: str, more: str = "") -> Format | None:
    text = '{"flows": [{"filePattern": "/x", "kinesisStream": "s"%s, "dataProcessingOptions": [%s]}]}'
    (flow,) = parse_kinesis(text % (more, options), "agent.json").flows
    return flow.format


def test_a_whole_configuration(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text(FULL)
    found = read_kinesis(str(tmp_path / "agent.json"))
    access, table, app, other = found.flows
    assert (access.source, access.files.name, access.files.start) == ("access", "access", "beginning")
    assert access.format == Format("combined")
    assert access.files.paths == ("/var/log/nginx/access.log*",)
    assert "*.gz" in access.files.exclude
    assert table.files.paths == ("/tmp/a{1,2}.csv", "/tmp/b//c.csv")
    assert table.files.start == "end"
    assert table.format == table.files.format == Format("csv", fields=("a", "b"), delimiter="\t", header=True)
    assert table.files.header
    assert app.format == Format("json")
    assert app.files.multiline == r"\{$"
    assert (app.source, app.files.name) == ("app", "app:/tmp/app.log")
    assert (other.source, other.format, other.files.name) == ("app", None, "app:/tmp/other.log")
    assert found.ignored == (
        "cloudwatch.emitMetrics",
        "kinesis.endpoint",
        "awsAccessKeyId",
        "maxSendingThreads",
        "flows[0].partitionKeyOption",
        "flows[1].dataProcessingOptions[0].jsonFormat",
    )


@pytest.mark.parametrize(
    ("log_format", "line", "groups"),
    [
        (
            "SYSLOG",
            "Nov 22 10:00:01 web1 sshd[123]: Accepted key for root",
            ("Nov 22 10:00:01", "web1", "sshd", "123", "Accepted key for root"),
        ),
        (
            "RFC3339SYSLOG",
            "2026-11-22T10:00:01.123+09:00 web1 cron: done",
            ("2026-11-22T10:00:01.123+09:00", "web1", "cron", None, "done"),
        ),
    ],
)
def test_syslog(log_format: str, line: str, groups: tuple[str | None, ...]) -> None:
    form = flow_of(f'{{"optionName": "LOGTOJSON", "logFormat": "{log_format}"}}')
    assert form is not None
    assert form.kind == "regex"
    match = re.search(form.pattern, line)
    assert match is not None
    assert tuple(match.groupdict()) == ("timestamp", "hostname", "program", "processid", "message")
    assert match.groups() == groups


def test_apache_errors_and_other_names() -> None:
    assert flow_of('{"optionName": "LOGTOJSON", "logFormat": "APACHEERRORLOG"}') == Format("apache_error")
    names = '"customFieldNames": ["a", "b", "c", "d", "e", "f", "g"]'
    assert flow_of(f'{{"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG", {names}}}') == Format(
        "common", fields=tuple("abcdefg")
    )
    form = flow_of(f'{{"optionName": "LOGTOJSON", "logFormat": "APACHEERRORLOG", {names}}}')
    assert form is not None
    match = re.search(form.pattern, "[Sun Nov 22 10:00:00.1 2026] [core:error] [pid 1:tid 2] [client 1.2.3.4:5] oh no")
    assert match is not None
    assert match.groupdict() == {
        "a": "Sun Nov 22 10:00:00.1 2026",
        "b": "core",
        "c": "error",
        "d": "1",
        "e": "2",
        "f": "1.2.3.4:5",
        "g": "oh no",
    }


def test_a_pattern_of_the_users_own() -> None:
    form = flow_of(
        r'{"optionName": "LOGTOJSON", "logFormat": "SYSLOG",'
        r' "matchPattern": "(?i)^([\\d.()]+) (?:x|y)\\((\\w+)\\) (.*)$",'
        r' "customFieldNames": ["ip address", "2nd", "rest"]}'
    )
    assert form is not None
    match = re.search(form.pattern, "1.2.3.4 X(abc) and so on")
    assert match is not None
    assert match.groupdict() == {"ip_address": "1.2.3.4", "_2nd": "abc", "rest": "and so on"}
    assert re.search(form.pattern, "no: 1.2.3.4 x(abc) and so on") is None


def test_all_mistakes_at_once() -> None:
    text = r"""{
      "flow": [],
      "flows": [
        {"filePattern": "tmp/x", "kinesisStream": "a", "deliveryStream": "b", "initialPosition": "MIDDLE", "color": 1},
        {"kinesisStream": 5, "multiLineStartPattern": "(", "fileFooterPattern": "x", "skipHeaderLines": 2},
        {"filePattern": "/x", "kinesisStream": "c", "dataProcessingOptions": [
          {"optionName": "ADDBRACKETS"}, {"optionName": "XML"}, {"optionName": "CSVTOJSON", "delimiter": "::", "x": 1},
          {"optionName": "LOGTOJSON", "logFormat": "NGINX"}]},
        {"filePattern": "/x", "kinesisStream": "d", "dataProcessingOptions": [
          {"optionName": "LOGTOJSON", "logFormat": "COMMONAPACHELOG", "customFieldNames": ["a"]}]},
        {"filePattern": "/x", "kinesisStream": "e", "dataProcessingOptions": [
          {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)(?=b)", "customFieldNames": ["a"]}]},
        {"filePattern": "/x", "kinesisStream": "f", "dataProcessingOptions": [
          {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)(b)", "customFieldNames": ["a"]}]},
        {"filePattern": "/x", "kinesisStream": "g", "dataProcessingOptions": [
          {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)"}]},
        7
      ]
    }"""
    with pytest.raises(Invalid) as raised:
        parse_kinesis(text, "/etc/aws-kinesis/agent.json")
    said = str(raised.value).splitlines()
    assert said[0] == "/etc/aws-kinesis/agent.json: 22 mistakes"
    assert [line.split(": ")[0].strip() for line in said[1:]] == [
        "flow",
        "flows[0].color",
        "flows[0]",
        "flows[0].filePattern",
        "flows[0].initialPosition",
        "flows[1].fileFooterPattern",
        "flows[1]",
        "flows[1].filePattern",
        "flows[1].skipHeaderLines",
        "flows[1].multiLineStartPattern",
        "flows[2].dataProcessingOptions[0]",
        "flows[2].dataProcessingOptions[1].optionName",
        "flows[2].dataProcessingOptions[2].x",
        "flows[2].dataProcessingOptions[2].customFieldNames",
        "flows[2].dataProcessingOptions[2].delimiter",
        "flows[2].dataProcessingOptions[3]",
        "flows[2].dataProcessingOptions[3].logFormat",
        "flows[3].dataProcessingOptions[0].customFieldNames",
        "flows[4].dataProcessingOptions[0].matchPattern",
        "flows[5].dataProcessingOptions[0].matchPattern",
        "flows[6].dataProcessingOptions[0].customFieldNames",
        "flows[7]",
    ]
    assert all(line.endswith(")") for line in said[1:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "flows: is missing"),
        ('{"flows": {}}', "not a list"),
        (
            '{"flows": [{"filePattern": "/x", "kinesisStream": "s"}, {"filePattern": "/x", "kinesisStream": "s"}]}',
            "two",
        ),
    ],
)
def test_what_is_no_configuration(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse_kinesis(text, "agent.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"none\.json"):
        read_kinesis(str(tmp_path / "none.json"))
