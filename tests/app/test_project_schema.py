from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mulgil.app.cli.init import PROJECT_TEXT
from mulgil.app.project_schema import SCHEMA_URL, SHAPES, json_schema
from mulgil.app.setting_keys import keys_of

GOLDEN = Path(__file__).parent.parent / "golden" / "check"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def accepts(validator: Draft202012Validator, text: str) -> bool:
    return bool(validator.is_valid(yaml.safe_load(text)))


def test_the_file_of_init_is_accepted_and_names_the_schema(validator: Draft202012Validator) -> None:
    assert accepts(validator, PROJECT_TEXT)
    assert SCHEMA_URL in PROJECT_TEXT.splitlines()[0]


def test_the_design_example_is_accepted(validator: Draft202012Validator) -> None:
    assert accepts(
        validator,
        """
lake:   ./lake
state:  ./state.db
stream: {path: ./stream, shards: 2, retention: 7d, size: 10GB}
query:  duckdb
delivery: {visible_ms: 500ms, snapshots: "${SNAPSHOTS}"}
sources:
  web:     {type: http,     table: bronze.web, event_id: false, cors: "*", ga4_collect: true}
  access:  {type: files,    path: /var/log/nginx/access.log*, format: combined, table: bronze.access}
  app:     {type: files,    path: [a, b], format: {kind: regex, pattern: "(?P<a>.)"}, table: "${DB}.app"}
""",
    )


@pytest.mark.parametrize(
    "name",
    [
        "unknown_key_top",
        "unknown_key_near",
        "key_of_another_type",
        "unknown_key_in_section",
        "format_misspelled",
        "unknown_type",
        "type_of_another_version",
        "missing_keys",
        "no_sources",
        "empty_sources",
        "table_name",
        "durations_and_sizes",
        "numbers",
        "listen",
        "columns",
        "choices",
        "tls_half",
    ],
)
def test_an_editor_sees_what_check_says(validator: Draft202012Validator, name: str) -> None:
    assert not accepts(validator, (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8").partition("---\n")[0])


def test_every_key_is_explained_for_editors() -> None:
    schema = json_schema()
    for shape in SHAPES:
        found: Any = schema if shape is SHAPES[0] else schema["$defs"][shape.__name__]
        assert set(found["properties"]) == {key.name for key in keys_of(shape)}
        for name, said in found["properties"].items():
            assert said["description"], f"{shape.__name__}.{name}"


def test_defaults_are_written_as_the_file_would_say_them(validator: Draft202012Validator) -> None:
    schema = json_schema()
    http = schema["$defs"]["HttpSourceSettings"]["properties"]
    assert http["remember"]["default"] == "7d"
    assert schema["properties"]["listen"]["default"] == "127.0.0.1:7410"
    assert schema["properties"]["lake"]["default"] == "./lake"
