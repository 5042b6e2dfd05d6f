from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mulgil.app.project_lock import ProjectLock, is_locked
from mulgil.errors import Broken, Conflict


def test_one_holds_it_and_the_other_is_told_who(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state.db"
    first = ProjectLock(state)
    assert is_locked(state)
    with pytest.raises(Conflict, match=f"process {os.getpid()} "):
        ProjectLock(state)
    first.release()
    first.release()
    assert not is_locked(state)
    ProjectLock(state).release()


def test_whoever_only_looks_disturbs_nobody(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            is_locked(state)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(50):
            ProjectLock(state).release()
    finally:
        stop.set()
        looking.join()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Broken, match="cannot be locked"):
        ProjectLock(tmp_path / "file" / "state.db")
