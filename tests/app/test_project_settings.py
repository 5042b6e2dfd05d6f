from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulgil.app.cli.init import PROJECT_TEXT
from mulgil.app.format_setting import FORMAT_KINDS
from mulgil.app.mistake import ProjectInvalid
from mulgil.app.project_warning import warnings
from mulgil.app.setting_types import TABLE_NAME, ListenAddress
from mulgil.app.settings import (
    AgentSourceSettings,
    FilesSourceSettings,
    HttpSourceSettings,
    ProjectSettings,
    StreamSection,
    find_project,
    load_project,
)
from mulgil.errors import Invalid, Missing
from mulgil.schema import Format


def loaded(folder: Path, text: str, **environment: str) -> ProjectSettings:
    (folder / "mulgil.yaml").write_text(text, encoding="utf-8")
    return load_project(folder, environment)


def test_only_sources_are_required_and_every_other_key_has_an_embedded_default(tmp_path: Path) -> None:
    project = loaded(tmp_path, "sources: {web: {type: http, table: bronze.web}}")
    assert project.folder == tmp_path
    assert (project.lake, project.state) == (tmp_path / "lake", tmp_path / "state.db")
    assert project.stream == StreamSection(path=tmp_path / "stream", shards=1, retention_s=86400, size_bytes=None)
    assert project.listen == ListenAddress("127.0.0.1", 7410)
    assert project.tls is None
    assert (project.delivery.visible_ms, project.delivery.file_mb, project.delivery.snapshots) == (500, 128, 100)
    assert project.limits.body_mb == 16
    web = project.sources["web"]
    assert web == HttpSourceSettings(table="bronze.web")
    assert isinstance(web, HttpSourceSettings)
    assert (web.event_id, web.remember_s, web.schema) == ("event_id", 7 * 86400, "evolve")


def test_everything_that_can_be_said_arrives(tmp_path: Path) -> None:
    project = loaded(
        tmp_path,
        r"""
lake: /var/lib/lake
state: data/state.db
stream: {path: data/stream, shards: 4, retention: 12h, size: 10GB}
listen: "[::]:8080"
tls: {cert: tls/cert.pem, key: /etc/tls/key.pem}
delivery: {visible_ms: 1s, file_mb: 64MB, snapshots: 10}
limits: {body_mb: 8, memory_mb: 512, disk_free_mb: 0, lag_mb: 100}
sources:
  web:
    type: http
    table: bronze.web
    time: at
    schema: strict
    partition: [ day( at ), "bucket(16,user_id)"]
    columns: {price: double}
    remember: 1d
    cors: https://www.example.com
    event_id: false
    shards: 2
    ga4_collect: true
  access:
    type: files
    path: [logs/*.log, ./more/*.log, /var/log/*.log]
    exclude: ["*.gz", old/*]
    format: {kind: regex, pattern: '(?P<time>\S+) (?P<text>.*)'}
    start: end
    multiline: ^\d
    table: bronze.access
  shipped: {type: agent, table: bronze.access, format: {kind: csv, fields: [a, b], delimiter: ";", header: true}}
""",
    )
    assert project.lake == Path("/var/lib/lake")
    assert project.state == tmp_path / "data/state.db"
    assert project.stream == StreamSection(
        path=tmp_path / "data/stream", shards=4, retention_s=43200, size_bytes=10**10
    )
    assert (project.listen.host, project.listen.port, project.listen.is_loopback) == ("::", 8080, False)
    assert project.tls is not None
    assert (project.tls.cert, project.tls.key) == (tmp_path / "tls/cert.pem", Path("/etc/tls/key.pem"))
    assert (project.delivery.visible_ms, project.delivery.file_mb, project.delivery.snapshots) == (1000, 64, 10)
    assert project.limits.lag_mb == 100
    assert project.sources == {
        "web": HttpSourceSettings(
            table="bronze.web",
            time="at",
            schema="strict",
            partition=("day(at)", "bucket(16, user_id)"),
            columns={"price": "double"},
            remember_s=86400,
            cors=("https://www.example.com",),
            event_id=None,
            shards=2,
            ga4_collect=True,
        ),
        "access": FilesSourceSettings(
            table="bronze.access",
            path=(f"{tmp_path}/logs/*.log", f"{tmp_path}/more/*.log", "/var/log/*.log"),
            exclude=("*.gz", f"{tmp_path}/old/*"),
            format=Format(kind="regex", pattern=r"(?P<time>\S+) (?P<text>.*)"),
            start="end",
            multiline=r"^\d",
        ),
        "shipped": AgentSourceSettings(
            table="bronze.access", format=Format(kind="csv", fields=("a", "b"), delimiter=";", header=True)
        ),
    }


def test_the_environment_fills_in_texts_numbers_and_truths_but_never_structure(tmp_path: Path) -> None:
    project = loaded(
        tmp_path,
        """
lake: ${ROOT}/lake
delivery: {snapshots: "${KEEP}", visible_ms: "${PACE:-250ms}"}
sources:
  web: {type: http, table: "${DATABASE}.web", ga4_collect: "${COLLECT}", event_id: "${NONE}", time: "${KEY}"}
""",
        ROOT="/srv/data",
        KEEP="7",
        DATABASE="bronze",
        COLLECT="true",
        NONE="false",
        KEY="a}, type: files",
    )
    assert project.lake == Path("/srv/data/lake")
    assert (project.delivery.snapshots, project.delivery.visible_ms) == (7, 250)
    web = project.sources["web"]
    assert isinstance(web, HttpSourceSettings)
    assert (web.table, web.ga4_collect, web.event_id, web.time) == (
        "bronze.web",
        True,
        None,
        "a}, type: files",
    )


def test_two_dollars_are_no_variable(tmp_path: Path) -> None:
    project = loaded(tmp_path, 'sources: {a: {type: files, table: b.a, path: a.log, time: "a$${1}$"}}')
    source = project.sources["a"]
    assert isinstance(source, FilesSourceSettings)
    assert source.time == "a${1}$"


def test_a_map_written_once_can_be_merged_into_others(tmp_path: Path) -> None:
    project = loaded(
        tmp_path,
        """
sources:
  a: &events {type: http, table: bronze.events, remember: 1d}
  b: {<<: *events, remember: 2d}
""",
    )
    assert [(one.table, one.remember_s) for one in project.sources.values()] == [
        ("bronze.events", 86400),
        ("bronze.events", 172800),
    ]


def test_words_that_old_yaml_takes_for_truths_or_dates_may_be_names(tmp_path: Path) -> None:
    project = loaded(tmp_path, "sources: {on: {type: http, table: bronze.web, time: 2024-01-01}}")
    assert project.sources["on"].time == "2024-01-01"


def test_a_folder_whose_name_is_a_pattern_matches_itself_only(tmp_path: Path) -> None:
    folder = tmp_path / "clinic[1]"
    folder.mkdir()
    (folder / "a.log").touch()
    project = loaded(folder, "sources: {a: {type: files, path: '*.log', table: bronze.a}}")
    assert warnings(project) == []


def test_a_project_is_found_from_below_but_a_named_one_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mulgil.yaml").write_text("sources: {web: {type: http, table: bronze.web}}")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_project() == tmp_path / "mulgil.yaml"
    assert find_project(tmp_path / "mulgil.yaml") == tmp_path / "mulgil.yaml"
    with pytest.raises(Missing):
        find_project(below)


def test_another_ending_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "mulgil.yml").touch()
    with pytest.raises(Missing) as error:
        load_project(tmp_path, {})
    assert "rename" in error.value.hint


def test_all_mistakes_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ProjectInvalid) as error:
        loaded(tmp_path, "listen: 1\nsources:\n  b: {type: x}\n  a: {type: http}\n  a: 3\nlake: s3://x\n")
    assert [mistake.line for mistake in error.value.mistakes] == [1, 3, 4, 5, 6]
    assert isinstance(error.value, Invalid)


def test_the_file_that_init_writes_is_right(tmp_path: Path) -> None:
    project = loaded(tmp_path, PROJECT_TEXT)
    assert sorted(one.type for one in project.sources.values()) == ["files", "http"]


def test_every_format_can_be_declared(tmp_path: Path) -> None:
    for kind in FORMAT_KINDS:
        said = "{kind: regex, pattern: '(?P<a>.)'}" if kind == "regex" else kind
        project = loaded(tmp_path, f"sources: {{a: {{type: agent, table: b.a, format: {said}}}}}")
        source = project.sources["a"]
        assert isinstance(source, AgentSourceSettings)
        assert source.format.kind == kind


def test_table_names_are_those_that_the_catalog_takes() -> None:
    from mulgil.catalog.name import checked_name

    for name in (
        "bronze.web",
        "b.w_1",
        "web",
        "Bronze.web",
        "a.b.c",
        "1a.b",
        "a.1b",
        "a." + "b" * 127,
        "a." + "b" * 128,
    ):
        try:
            checked_name(name)
            taken = True
        except Invalid:
            taken = False
        assert bool(TABLE_NAME.match(name)) == taken, name


def test_partitions_are_those_that_tables_understand(tmp_path: Path) -> None:
    from mulgil.table.partition import _parsed

    for text in (
        "day(at)",
        "days( at )",
        "Hour(at)",
        "bucket( 16,user id)",
        "truncate(4, a.b)",
        "city",
        "identity(x-y)",
    ):
        project = loaded(tmp_path, f"sources: {{a: {{type: agent, table: b.a, partition: '{text}'}}}}")
        assert _parsed(project.sources["a"].partition[0], "") == _parsed(text, "")


def test_what_is_no_mistake_but_worth_a_word_is_warned_of(tmp_path: Path) -> None:
    project = loaded(
        tmp_path,
        """
listen: 0.0.0.0:7410
sources:
  web: {type: http, table: bronze.web, cors: "*"}
  a: {type: files, path: "logs/{a,b}.log", table: bronze.a}
""",
    )
    said = "\n".join(warnings(project))
    for words in ("asks for a key", "without tls", "no file matches", "every page on the web"):
        assert words in said
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").touch()
    assert "no file matches" not in "\n".join(warnings(project))
    folder = loaded(tmp_path, "sources: {a: {type: files, path: ./logs, table: bronze.a}}")
    assert "is a folder" in "\n".join(warnings(folder))


def test_no_environment_given_means_the_process_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULGIL_TEST_TABLE", "bronze.web")
    (tmp_path / "mulgil.yaml").write_text("sources: {web: {type: http, table: '${MULGIL_TEST_TABLE}'}}")
    assert load_project(tmp_path).sources["web"].table == os.environ["MULGIL_TEST_TABLE"]
