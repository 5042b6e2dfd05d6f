"""The generated pages are what the code says now: `make docs` writes them anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[Path, str] = generator().pages()


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_the_page_is_fresh(path: Path) -> None:
    assert (DOCS / path).read_text(encoding="utf-8") == PAGES[path], "run `make docs`"


def test_no_page_is_left_that_nobody_writes() -> None:
    written = {DOCS / path for path in PAGES}
    assert {one for one in (DOCS / "reference").iterdir() if one.suffix == ".md"} <= written
