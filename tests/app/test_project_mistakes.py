"""Every kind of mistake: tests/golden/check/*.yaml holds a project file, `---`, and what `mulgil check` says of it.

`python tests/app/test_project_mistakes.py` writes what it says now into the files, to be read before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulgil.app.mistake import ProjectInvalid
from mulgil.app.settings import load_project

GOLDEN = Path(__file__).parent.parent / "golden" / "check"
FILES = sorted(GOLDEN.glob("*.yaml"))
SECRET = "hunter2-Très-Secret"
ENVIRONMENT = {"SECRET": SECRET, "SECRET_URL": f"https://{SECRET}@db", "HOME": "/home/nobody"}


def said_of(text: str, folder: Path) -> str:
    (folder / "mulgil.yaml").write_text(text, encoding="utf-8")
    here = Path.cwd()
    os.chdir(folder)
    try:
        load_project(None, ENVIRONMENT)
    except ProjectInvalid as error:
        return "\n".join(str(mistake) for mistake in error.mistakes) + "\n"
    finally:
        os.chdir(here)
    return "no mistake\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_mistake_is_said_with_its_place_and_cure(file: Path, tmp_path: Path) -> None:
    text, _, expected = file.read_text(encoding="utf-8").partition("---\n")
    assert said_of(text, tmp_path) == expected


def test_there_are_mistakes_of_many_kinds() -> None:
    assert len(FILES) >= 25
    assert not [file.stem for file in FILES if "no mistake" in file.read_text(encoding="utf-8").partition("---\n")[2]]


def test_no_value_of_the_environment_is_ever_said(tmp_path: Path) -> None:
    text = (GOLDEN / "secrets_stay_secret.yaml").read_text(encoding="utf-8").partition("---\n")[0]
    said = said_of(text, tmp_path).lower()
    assert said.count("${secret}") >= 8
    for part in ("hunter", "très", "tr_s", "secret@"):
        assert part not in said


def rewrite(folder: Path) -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8").partition("---\n")[0]
        file.write_text(f"{text}---\n{said_of(text, folder)}", encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rewrite(Path(folder))
