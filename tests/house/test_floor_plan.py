"""The house checks what the import contracts cannot say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mulgil"
FILES = sorted(SOURCE.rglob("*.py"))
BUCKETS = {"utils", "helpers", "common", "core", "base", "misc"}
LINES_MAX = 600
BROAD_EXCEPTS_MAX = 10

DOORS = {
    "catalog",
    "delivery",
    "delivery.decode",
    "query",
    "sources",
    "sources.agent",
    "sources.collector",
    "sources.files",
    "state",
    "storage",
    "stream",
    "table",
}
"""Rooms that are entered by their `__init__` alone; `app` may go deeper, and the ground has no doors."""


def module_of(path: Path) -> str:
    """`src/mulgil/table/files.py` to `table.files`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(module: str) -> str:
    """The innermost door above a module, itself included; '' for the ground and the roof."""
    names = module.split(".")
    return next((door for end in range(len(names), 0, -1) if (door := ".".join(names[:end])) in DOORS), "")


def imports_of(path: Path) -> list[str]:
    """Modules of mulgil that a file imports, without the `mulgil.`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mulgil"):
            inside = node.module.removeprefix("mulgil").removeprefix(".")
            for name in node.names:
                deeper = f"{inside}.{name.name}".strip(".")
                known = (SOURCE / deeper.replace(".", "/")).with_suffix(".py").exists()
                found.append(deeper if known else inside)
    return found


def test_rooms_meet_at_doors_only() -> None:
    wrong = []
    for path in FILES:
        module = module_of(path)
        if module.startswith("app") or module == "":
            continue
        for target in imports_of(path):
            room = room_of(target)
            if room and room_of(module) != room and target != room:
                wrong.append(f"{module} reaches past the door of {room}: {target}")
    assert not wrong


def test_siblings_do_not_come_in_by_their_own_door() -> None:
    wrong = []
    for path in FILES:
        module = module_of(path)
        own = room_of(module)
        if own and module != own and own in imports_of(path):
            wrong.append(module)
    assert not wrong


def test_every_door_of_the_plan_exists_and_no_other_room() -> None:
    folders = {module_of(path) for path in SOURCE.rglob("__init__.py") if path.parent != SOURCE}
    assert {folder for folder in folders if not folder.startswith("app")} == DOORS


def test_a_door_holds_no_logic() -> None:
    for door in DOORS:
        tree = ast.parse((SOURCE / door.replace(".", "/") / "__init__.py").read_text())
        assert ast.get_docstring(tree), door
        others = [
            node for node in tree.body if not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign)
        ]
        assert not others, door


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_fits_in_the_head(path: Path) -> None:
    text = path.read_text()
    assert path.stem not in BUCKETS
    assert len(text.splitlines()) <= LINES_MAX
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "a file says what it is for"


def test_broad_excepts_are_few_and_named() -> None:
    lines = [line for path in FILES for line in path.read_text().splitlines() if "BLE001" in line]
    assert len(lines) <= BROAD_EXCEPTS_MAX
    assert all("(" in line for line in lines), "each says why"


def test_the_readme_shows_every_room() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = set(re.findall(r"^  ([a-z_]+)/", readme, re.MULTILINE))
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert shown == rooms


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_prose_names_files_that_exist(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"`((?:src|docs|tests|benchmarks)/[\w./-]+?)`", text))
    linked = {one.partition("#")[0] for one in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in one}
    missing = [one for one in named if not (ROOT / one).exists()]
    missing += [one for one in linked if one and not (path.parent / one).exists()]
    assert not missing


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [module_of(path) for path in FILES if marks.search(path.read_text())]
