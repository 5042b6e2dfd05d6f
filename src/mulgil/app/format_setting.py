"""`format:` in a project file: a word (`combined`), or a map with options, checked down to the regular expression.

Called by `settings.py` as the type of a source's `format`; becomes the ground's `Format`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, get_args

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema

from mulgil.app.setting_types import REFUSE_UNKNOWN, Truth, compiled, wrong
from mulgil.schema import Format, FormatKind

FORMAT_KINDS = get_args(FormatKind)


@dataclass(frozen=True, kw_only=True)
class FormatShape:
    """A format with its options."""

    __pydantic_config__ = REFUSE_UNKNOWN

    kind: FormatKind = "json"
    """What the records are written in."""
    pattern: Annotated[str | None, Field(examples=["(?P<time>\\S+) (?P<level>\\w+) (?P<text>.*)"])] = None
    """`regex`: the expression (RE2 syntax); its named groups become columns."""
    fields: tuple[str, ...] | None = None
    """`csv`, `tsv`: the columns' names, where no header names them. Log formats: other names, in the same order."""
    delimiter: Annotated[str | None, Field(examples=[";"])] = None
    """`csv`: the character between fields."""
    header: Truth | None = None
    """`csv`, `tsv`: the first line of each file names the columns and is no record, even when `fields` renames them."""


_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "pattern": ("regex",),
    "fields": ("csv", "tsv", "combined", "common", "nginx_error", "apache_error", "alb"),
    "delimiter": ("csv",),
    "header": ("csv", "tsv"),
}


def _format(shape: FormatShape) -> Format:
    for option, kinds in _OPTIONS.items():
        if getattr(shape, option) is not None and shape.kind not in kinds:
            raise wrong(f"{shape.kind} takes no {option}", f"{option} belongs to {', '.join(kinds)}", at=option)
    if shape.kind == "regex":
        _check_pattern(shape.pattern)
    if shape.delimiter is not None and len(shape.delimiter.encode()) != 1:
        raise wrong("the delimiter is not one character", 'write one, such as ";" or "\\t"', at="delimiter")
    fields = shape.fields or ()
    if len(set(fields)) != len(fields):
        raise wrong("fields names a column twice", "give each column a name of its own", at="fields")
    given = {name: getattr(shape, name) for name in _OPTIONS if getattr(shape, name) is not None}
    return Format(kind=shape.kind, **given)


def _check_pattern(pattern: str | None) -> None:
    if not pattern:
        raise wrong("regex needs a pattern", "write {kind: regex, pattern: '(?P<time>\\S+) (?P<text>.*)'}")
    if not compiled(pattern, "pattern").groupindex:
        raise wrong("the pattern has no named groups", "write (?P<name>…): each becomes a column", at="pattern")
    import pyarrow as pa  # a quarter of a second to import, for projects with a regex alone
    import pyarrow.compute as pc

    try:
        pc.extract_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        cure = "write it without looking ahead or behind, back references and possessive repeats"
        detail = str(error).removeprefix("Invalid regular expression: ")
        raise wrong("the pattern is not in RE2 syntax", cure, f"{detail}; {cure}", at="pattern") from None


FormatText = Annotated[
    Format,
    GetPydanticSchema(
        lambda _source, handler: handler.generate_schema(
            Annotated[
                FormatShape,
                BeforeValidator(
                    lambda value: {"kind": value} if isinstance(value, str) else value,
                    json_schema_input_type=FormatKind | FormatShape,
                ),
                AfterValidator(_format),
            ]
        )
    ),
]
