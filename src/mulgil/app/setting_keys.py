"""Which keys a settings dataclass accepts, read from the dataclass itself: names, defaults, examples, explanations.

Called by `project_check` (to suggest the nearest key), `project_schema` and the reference page's generator.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from mulgil.app.format_setting import FormatShape
from mulgil.app.quantity import duration_text
from mulgil.app.setting_types import ListenAddress
from mulgil.schema import Format


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a map in the project file."""

    name: str
    """As it is written in the file."""
    attribute: str
    """As the dataclass calls it."""
    type: Any
    required: bool
    default: Any
    example: Any
    doc: str
    """One or two sentences."""

    @property
    def written_default(self) -> Any:
        """The default as the file would say it; None where there is none to write."""
        value = self.default
        if isinstance(value, PurePath):
            return f"./{value}"
        if self.attribute.endswith("_s") and isinstance(value, float):
            return duration_text(value)
        if isinstance(value, (bool, int, str)):
            return value
        return str(value) if isinstance(value, ListenAddress) else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The words it may be, where only some may."""
        bare = _bare(self.type)
        return tuple(str(one) for one in get_args(bare)) if get_origin(bare) is Literal else ()

    @property
    def sections(self) -> tuple[type, ...]:
        """The settings dataclasses that its value may be; for a map of names, those of the map's values."""
        found = (FormatShape if one is Format else one for one in _alternatives(self.type))
        return tuple(one for one in found if is_dataclass(one) and hasattr(one, "__pydantic_config__"))

    @property
    def named(self) -> bool:
        """Whether its value is a map from names that the user chooses."""
        return get_origin(_bare(self.type)) in (Mapping, dict) or _bare(self.type) is Mapping


@cache
def keys_of(shape: type) -> tuple[Key, ...]:
    """The keys of a settings dataclass, in its order."""
    hints = get_type_hints(shape, include_extras=True)
    docs = {name: doc for one in reversed(shape.__mro__) for name, doc in _docs(one).items()}
    found = []
    for field in fields(shape):
        info = next((one for one in _metadata(hints[field.name]) if isinstance(one, FieldInfo)), None)
        factory = field.default_factory
        default = factory() if factory is not MISSING else field.default
        found.append(
            Key(
                name=(info.alias if info else None) or field.name,
                attribute=field.name,
                type=hints[field.name],
                required=default is MISSING,
                default=None if default is MISSING else default,
                example=info.examples[0] if info and info.examples else None,
                doc=docs.get(field.name, ""),
            )
        )
    return tuple(found)


def shape_at(shape: type, path: tuple[str | int, ...], tree: Any) -> type | None:
    """The settings dataclass that describes the map at `path` of the parsed file; None where there is none."""
    if not path:
        return shape
    key = next((one for one in keys_of(shape) if one.name == path[0]), None)
    if key is None or not isinstance(tree, dict):
        return None
    below, rest = tree.get(path[0]), path[1:]
    if key.named:
        if not rest or not isinstance(below, dict):
            return None
        below, rest = below.get(rest[0]), rest[1:]
    section = next((one for one in key.sections if len(key.sections) == 1 or kind_of(one) == _type_in(below)), None)
    return shape_at(section, rest, below) if section is not None else None


def kind_of(shape: type) -> str | None:
    """The `type:` by which the file chooses this dataclass."""
    return next((str(one.default) for one in fields(shape) if one.name == "type"), None)


def _type_in(value: Any) -> Any:
    return value.get("type") if isinstance(value, dict) else None


def _bare(hint: Any) -> Any:
    return _bare(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _metadata(hint: Any) -> tuple[Any, ...]:
    return (*_metadata(get_args(hint)[0]), *get_args(hint)[1:]) if get_origin(hint) is Annotated else ()


def _alternatives(hint: Any) -> list[Any]:
    bare = _bare(hint)
    if get_origin(bare) in (Union, UnionType):
        return [found for one in get_args(bare) for found in _alternatives(one)]
    if get_origin(bare) not in (None, tuple, list) and get_args(bare):
        return _alternatives(get_args(bare)[-1])
    return [bare]


@cache
def _docs(shape: type) -> dict[str, str]:
    """The docstrings under a class's fields."""
    if not is_dataclass(shape) or shape is object:
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(shape))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found
