"""mulgil.yaml as text: parsed so that every value keeps its line and column, `${VAR}` filled in.

Called by `settings.load_project`. Nothing here knows which keys exist; that is the settings' business.
YAML is the 1.2 everybody means: keys are texts, dates stay texts, `<<` merges a map written elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from mulgil.app.mistake import Mistake

Path = tuple[str | int, ...]
"""Where a value stands: `("sources", "web", "cors", 0)`."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\})?")
_VARIABLE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)
_TAG = "tag:yaml.org,2002:"


class Substituted(str):
    """A text that came from the environment: a secret until the contrary is proven."""

    __slots__ = ("written",)
    written: str

    @classmethod
    def of(cls, value: str, written: str) -> Substituted:
        """The value, and how the file writes it."""
        made = cls(value)
        made.written = written
        return made


@dataclass
class Document:
    """What a project file says, and where it says it."""

    file: str
    tree: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1, at which a value begins."""
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Line and column of the key that names a value."""
    mistakes: list[Mistake] = field(default_factory=list)
    settled: set[Path] = field(default_factory=set)
    """Values that are reported already: what follows from them is not reported again."""

    def known(self, path: Path) -> Path:
        """The path itself, or the nearest one above it that stands in the file."""
        while path and path not in self.values:
            path = path[:-1]
        return path

    def report(self, path: Path, what: str, cure: str = "", *, at_key: bool = False, settles: bool = False) -> None:
        """Note a mistake at a value (or at its key)."""
        found = self.known(path)
        line, column = (self.keys if at_key and found in self.keys else self.values).get(found, (1, 1))
        self.mistakes.append(Mistake(self.file, line, column, shown_key(found), what, cure))
        if settles:
            self.settled.add(path)


def shown_key(path: Path) -> str:
    """`sources.web.cors[0]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def read(text: str, file: str, environment: Mapping[str, str]) -> Document:
    """Parse the file. Mistakes of writing (tabs, duplicate keys, variables that are not set) are in the answer."""
    document = Document(file)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.mistakes.append(
            Mistake(file, line, 1, "", f"holds the character #x{ord(text[error.position]):04x}", "remove it")
        )
        return document
    except yaml.MarkedYAMLError as error:
        document.mistakes.extend(_syntax_mistakes(text, file, error))
        return document
    if root is None:
        document.tree = {}
        return document
    document.tree = _Walk(document, environment).value(root, ())
    return document


def _syntax_mistakes(text: str, file: str, error: yaml.MarkedYAMLError) -> list[Mistake]:
    tabs = [
        Mistake(file, number, match.end(), "", "a tab in the indentation", "YAML indents with spaces only")
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := re.match(r" *\t", line))
    ]
    if tabs:
        return tabs
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "cannot be read"
    cure = ""
    if "mapping values are not allowed" in problem:
        cure = "put a text that holds a colon and a space in quotes, and begin each key on its own line"
    elif "found character" in problem and "cannot start any token" in problem:
        cure = "put a text that begins with this character in quotes"
    elif error.context and error.context_mark:
        cure = f"{error.context} that begins at line {error.context_mark.line + 1}"
    return [Mistake(file, line, column, "", f"this is not YAML: {problem}", cure)]


class _Walk:
    """From YAML's nodes to plain values; where each stands goes into the document."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._loader = yaml.SafeLoader("")
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: Path) -> Any:
        mark = node.start_mark
        self._document.values[path] = (mark.line + 1, mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._document.report(path, "the alias holds itself", "write it out", settles=True)
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(one, (*path, index)) for index, one in enumerate(node.value)]
            assert isinstance(node, yaml.MappingNode)
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if not isinstance(key_node, yaml.ScalarNode):
                self._document.report(path, "a key that is a list or a map", "keys are texts")
                continue
            if key_node.tag == _TAG + "merge":
                merged += self._merged(value_node, path)
                continue
            key = str(key_node.value)
            if key in lines:
                self._document.mistakes.append(
                    Mistake(
                        self._document.file,
                        mark.line + 1,
                        mark.column + 1,
                        shown_key((*path, key)),
                        f"the same key stands at line {lines[key]} already",
                        "keep one of the two",
                    )
                )
                continue
            lines[key] = mark.line + 1
            self._document.keys[(*path, key)] = (mark.line + 1, mark.column + 1)
            found[key] = self.value(value_node, (*path, key))
        for key_node, value_node in merged:
            if (key := str(key_node.value)) not in found:
                mark = key_node.start_mark
                self._document.keys[(*path, key)] = (mark.line + 1, mark.column + 1)
                found[key] = self.value(value_node, (*path, key))
        return found

    def _merged(self, node: yaml.Node, path: Path) -> list[tuple[yaml.Node, yaml.Node]]:
        maps = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(one, yaml.MappingNode) for one in maps):
            self._document.report(path, "<< takes a map that is written elsewhere", "write <<: *name")
            return []
        return [pair for one in maps for pair in one.value if isinstance(pair[0], yaml.ScalarNode)]

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = node.value
        if "${" in text:
            filled, given = self._filled(text, path)
            return Substituted.of(filled, text) if given else filled
        return self.plain(node, path)

    def plain(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "timestamp", "value", "merge"):
            return node.value
        if kind in ("null", "bool", "float"):
            return getattr(self._loader, f"construct_yaml_{kind}")(node)
        if kind == "int":
            return node.value if ":" in node.value else self._loader.construct_yaml_int(node)
        self._document.report(
            path, f"the tag {node.tag.replace(_TAG, '!!')} means nothing here", "remove it", settles=True
        )
        return node.value

    def _filled(self, text: str, path: Path) -> tuple[str, bool]:
        """The text with its variables filled in, and whether one of them came from the environment."""
        given = False

        def fill(match: re.Match[str]) -> str:
            nonlocal given
            if match[0] == "$${":
                return "${"
            parts = _VARIABLE_NAME.match(match[1])
            if match[2] is None or parts is None:
                what = "${ opens a variable that is not one"
                cure = "write ${NAME} or ${NAME:-default}; $${ stands for the two characters themselves"
                self._document.report(path, what, cure, settles=True)
                return ""
            name, default = parts[1], parts[2]
            if name in self._environment:
                given = True
                return self._environment[name]
            if default is None:
                cure = f"export {name}=… before, or write ${{{name}:-default}}"
                self._document.report(path, f"the variable {name} is not set", cure, settles=True)
                return ""
            return str(default)

        return _VARIABLE.sub(fill, text), given
