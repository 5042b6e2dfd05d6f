"""The JSON Schema of mulgil.yaml, so that editors complete and explain its keys.

Called by `mulgil schema` and `docs/generate.py`, which publishes it as docs/mulgil.schema.json (draft 2020-12).
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from mulgil.app.format_setting import FormatShape
from mulgil.app.setting_keys import keys_of
from mulgil.app.settings import (
    AgentSourceSettings,
    DeliverySection,
    FilesSourceSettings,
    HttpSourceSettings,
    LimitsSection,
    ProjectDeclaration,
    StreamSection,
    TlsSection,
)

SCHEMA_URL = "https://raw.githubusercontent.com/mulgil/mulgil/main/docs/mulgil.schema.json"
"""Where the published schema lies."""

SHAPES = (
    ProjectDeclaration,
    StreamSection,
    DeliverySection,
    LimitsSection,
    TlsSection,
    HttpSourceSettings,
    FilesSourceSettings,
    AgentSourceSettings,
    FormatShape,
)
"""Every map of the file, in the order of the reference page."""

_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def json_schema() -> dict[str, Any]:
    """The schema, as a JSON object."""
    made = TypeAdapter(ProjectDeclaration).json_schema(mode="validation")
    definitions = made.pop("$defs")
    for shape in SHAPES:
        found = made if shape is ProjectDeclaration else definitions[shape.__name__]
        found["description"] = " ".join((shape.__doc__ or "").split())
        for key in keys_of(shape):
            said = found["properties"][key.name]
            said["description"] = key.doc
            said.pop("default", None)
            if key.written_default is not None:
                said["default"] = key.written_default
            if key.name == "type":
                found["required"] = [*found.get("required", []), "type"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URL,
        "title": "mulgil.yaml",
        **_tidy(made),
        "$defs": {name: _tidy(one) for name, one in definitions.items()},
    }


def _tidy(schema: Any, *, names: bool = False) -> Any:
    """Without pydantic's own titles; whatever is no text may also be `${VAR}`. `names`: the keys are settings."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _tidy(value) for name, value in schema.items()}
    tidy = {
        name: value if name in ("examples", "default", "enum") else _tidy(value, names=name == "properties")
        for name, value in schema.items()
        if name not in ("title", "discriminator")
    }
    if "pattern" in tidy:
        tidy["pattern"] += "|" + _VARIABLE["pattern"]
    if tidy.get("type") not in ("integer", "boolean"):
        return tidy
    beside = {name: tidy.pop(name) for name in ("description", "default", "examples") if name in tidy}
    return {**beside, "anyOf": [tidy, dict(_VARIABLE)]}
