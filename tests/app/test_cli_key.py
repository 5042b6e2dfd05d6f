from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def key(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mulgil", "key", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
    )


def test_a_key_is_printed_once_with_what_it_changes(tmp_path: Path) -> None:
    (tmp_path / "mulgil.yaml").write_text("sources:\n  web: {type: http, table: bronze.web}\n")
    first = key(tmp_path, "create", "--grant", "write:web")
    assert "from now on every request needs a key" in first.stderr
    assert "no source" not in first.stderr
    second = key(tmp_path, "create", "--grant", "write:wbe", "--grant", "write:*")
    assert "there is no source wbe" in second.stderr
    assert "from now on" not in second.stderr
    listed = key(tmp_path, "list").stdout
    for one in (first, second):
        assert one.stdout.startswith("mulgil_")
        assert one.stdout.strip() not in listed
        assert one.stdout.split("_")[1] in listed


def test_a_grant_that_opens_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mulgil.yaml").write_text("sources:\n  web: {type: http, table: bronze.web}\n")
    for grant in ("write", "read:web", "write:a b", "delete:web"):
        refused = key(tmp_path, "create", "--grant", grant)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "is not a grant" in refused.stderr
