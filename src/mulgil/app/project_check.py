"""Every mistake of a project file in plain words: what is wrong at which line, and what would be right.

Called by `settings.load_project`. `before` finds what one value alone cannot show (two sources that contradict each
other, what this version does not run), `explain` translates what pydantic found. A value that came from the environment
is shown as the file writes it, `${VAR}`, never as what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mulgil.app.project_file import Document, Path, Substituted
from mulgil.app.setting_keys import Key, keys_of, kind_of, shape_at
from mulgil.app.setting_types import nearest

LATER = {
    "mysql": "export the table to files and read them with type: files",
    "postgres": "export the table to files and read them with type: files",
    "ga4": "send the events to /mp/collect of an http source with ga4_collect: true",
    "sheets": "export the sheet as CSV and read it with type: files, format: csv",
    "kafka": "post the records to an http source",
    "kinesis": "post the records to an http source, or ship the files with `mulgil agent`",
    "s3": "copy the objects to a folder and read them with type: files",
}
"""Kinds of sources that a reader of the design may expect, and what serves instead in this version."""

_NOT = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map of keys",
    "mapping_type": "a map of keys",
    "dataclass_type": "a map of keys",
    "model_attributes_type": "a map of keys",
}


def before(document: Document, shape: type) -> Any:
    """The document's tree as pydantic should see it; None where there is nothing to look at."""
    tree = document.tree
    if tree is None:
        return None
    if not isinstance(tree, dict):
        document.report((), f"holds {_shown(tree)}, not a map of keys", "begin with `sources:`")
        return None
    sources = tree.get("sources")
    if not isinstance(sources, dict) or not sources:
        return tree
    kinds = {kind_of(one) for key in keys_of(shape) if key.name == "sources" for one in key.sections}
    for name, source in sources.items():
        kind = source.get("type") if isinstance(source, dict) else None
        if kind in LATER and kind not in kinds:
            what = f"{_shown(kind)} is not in this version, which runs {', '.join(sorted(filter(None, kinds)))}"
            document.report(("sources", name, "type"), what, LATER[str(kind)])
    kept = {name: one for name, one in sources.items() if not (isinstance(one, dict) and one.get("type") in LATER)}
    if not kept:
        document.settled.add(("sources",))
    _compare(document, {name: one for name, one in kept.items() if isinstance(one, dict)})
    return {**tree, "sources": kept}


def _compare(document: Document, sources: Mapping[str, dict[str, Any]]) -> None:
    """Sources that contradict each other."""
    collects = [name for name, one in sources.items() if one.get("ga4_collect") is True]
    for name in collects[1:]:
        what = f"{collects[0]} takes /mp/collect already"
        document.report(("sources", name, "ga4_collect"), what, "only one source can")
    first: dict[tuple[str, str], tuple[str, Any]] = {}
    for name, source in sources.items():
        table = source.get("table")
        if not isinstance(table, str):
            continue
        said = {option: source[option] for option in ("partition", "schema") if source.get(option) is not None}
        columns = source.get("columns")
        said |= {f"columns.{column}": kind for column, kind in (columns if isinstance(columns, dict) else {}).items()}
        for option, value in said.items():
            other, theirs = first.setdefault((table, option), (name, value))
            if _listed(theirs) != _listed(value):
                what = f"{other}, which writes to the same table, says {_shown(theirs)}"
                document.report(("sources", name, *option.split(".", 1)), what, "one table has one answer")


def _listed(value: Any) -> Any:
    """A partition written `day(a)` or `[day( a )]` is the same."""
    return ["".join(str(one).split()) for one in (value if isinstance(value, list) else [value])]


def explain(document: Document, error: ValidationError, shape: type) -> None:
    """Note all that pydantic found."""
    for found in error.errors(include_url=False):
        path = _path(found["loc"], document.tree)
        if any(path[: len(settled)] == settled for settled in document.settled):
            continue
        if path[-1:] == ("[key]",):
            path = path[:-1]
            what, cure = _wrong(found, path)
            document.report(path, what, cure, at_key=True)
            continue
        _explain_one(document, found, path, shape)


def _explain_one(document: Document, found: Any, path: Path, shape: type) -> None:
    kind = found["type"]
    parent, name = path[:-1], path[-1] if path else ""
    if kind == "unexpected_keyword_argument":
        document.report(path, "unknown key", _known_key(shape, parent, str(name), document.tree), at_key=True)
    elif kind == "missing":
        key = _key(shape, path, document.tree)
        cure = f"write {name}: {_written(key.example)}" if key and key.example else ""
        document.report(parent, f'the key "{name}" is missing', cure, at_key=True)
    elif kind == "union_tag_not_found":
        kinds = _kinds(shape, path, document.tree)
        document.report(path, 'the key "type" is missing', f"write type: {', '.join(kinds)}", at_key=True)
    elif kind == "union_tag_invalid":
        kinds = _kinds(shape, path, document.tree)
        value = document.tree["sources"][path[1]]["type"]
        cure = "" if isinstance(value, Substituted) else nearest(str(value), kinds)
        document.report(
            (*path, "type"), f"{_shown(value)} is not a type of source", cure or f"one of {', '.join(kinds)}"
        )
    else:
        if at := found.get("ctx", {}).get("at"):
            path = (*path, at)
            found["input"] = found["input"].get(at) if isinstance(found["input"], dict) else found["input"]
        key = _key(shape, path, document.tree)
        what, cure = _wrong(found, path)
        if not cure and key is not None and key.example is not None:
            cure = f"write {key.name}: {_written(key.example)}"
        elif not cure and found["input"] is None:
            cure = "write one, or leave the key out"
        document.report(path, what, cure)


def _wrong(found: Any, path: Path) -> tuple[str, str]:
    """What is wrong with a value, and what would be right."""
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    secret = isinstance(value, Substituted)
    shown = _shown(value)
    if kind == "mulgil":
        what = f"{shown} {context['what']}" if _is_predicate(context["what"]) else context["what"]
        return what, context["cure"] if secret or not context["detail"] else context["detail"]
    if value is None:
        return "has no value", ""
    if kind == "literal_error":
        known = _quoted(context["expected"])
        near = "" if secret else nearest(str(value), known)
        if path[-1:] in (("kind",), ("format",)):
            return f"{shown} is not a format", near or f"one of {', '.join(known)}"
        return f"{shown} is not {' or '.join(known)}", near
    if kind in ("greater_than_equal", "less_than_equal"):
        small = kind.startswith("greater")
        bound = context["ge"] if small else context["le"]
        return f"{shown} is too {'small' if small else 'large'}", f"at {'least' if small else 'most'} {bound:g}"
    if kind == "too_short":
        return "holds nothing", "name at least one"
    if kind in _NOT:
        cure = "put it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
        return f"{shown} is not {_NOT[kind]}", cure
    return f"{shown}: {found['msg'][:1].lower()}{found['msg'][1:]}", ""


def _is_predicate(what: str) -> bool:
    """`is not a table name` wants the value before it; `csv takes no pattern` is a sentence."""
    return what.startswith(("is ", "has "))


def _path(location: tuple[int | str, ...], tree: Any) -> Path:
    """Pydantic's place without the names of the union's branches: they stand after a source's name."""
    if len(location) > 2 and location[0] == "sources" and location[2] != "[key]":
        sources = tree.get("sources")
        source = sources.get(location[1]) if isinstance(sources, dict) else None
        if isinstance(source, dict) and location[2] == source.get("type"):
            return (*location[:2], *location[3:])
    return tuple(location)


def _known_key(shape: type, parent: Path, name: str, tree: Any) -> str:
    owner = shape_at(shape, parent, tree)
    if owner is None:
        return ""
    known = [key.name for key in keys_of(owner)]
    if near := nearest(name, known):
        return near
    for other in _kinds(shape, parent, tree):
        there = shape_at(shape, parent, {"sources": {parent[-1]: {"type": other}}})
        if there is not None and name in {key.name for key in keys_of(there)}:
            return f"{name} belongs to {other} sources"
    return f"known here: {', '.join(known)}"


def _key(shape: type, path: Path, tree: Any) -> Key | None:
    path = tuple(step for step in path if not isinstance(step, int))
    owner = shape_at(shape, path[:-1], tree) if path else None
    return next((key for key in keys_of(owner) if key.name == path[-1]), None) if owner else None


def _kinds(shape: type, path: Path, tree: Any) -> list[str]:
    """The types of source, when `path` is a source."""
    if len(path) != 2 or path[0] != "sources":
        return []
    sections = next(key.sections for key in keys_of(shape) if key.name == "sources")
    return [kind for one in sections if (kind := kind_of(one))]


def _quoted(expected: str) -> list[str]:
    """The words in pydantic's `'a', 'b' or 'c'`."""
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _written(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)


def _shown(value: Any) -> str:
    """A value as the file writes it, in short."""
    if isinstance(value, Substituted):
        return f'"{value.written}"'
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "…"
        return json.dumps(text, ensure_ascii=False)
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return "a list" if isinstance(value, (list, tuple)) else "a map"
