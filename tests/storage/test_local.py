"""What the local file system alone can do wrong: full disks, refusals, crashes, lost renames."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mulgil.errors import Broken, MulgilError, Overloaded, Retry
from mulgil.storage import LocalStore


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(errno.ENOSPC, Overloaded), (errno.EDQUOT, Overloaded), (errno.EMFILE, Overloaded), (errno.EIO, Retry)],
)
@pytest.mark.parametrize("how", ["put", "put_all", "open_write"])
def test_a_failing_sync_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, meaning: type[MulgilError], how: str
) -> None:
    store = LocalStore()
    store.put(f"{tmp_path}/x", b"old")
    real = os.fsync

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path:
            real(descriptor)
        else:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)

    def write() -> None:
        if how == "put":
            store.put(f"{tmp_path}/x", b"new")
        elif how == "put_all":
            store.put_all([(f"{tmp_path}/x", b"new"), (f"{tmp_path}/y", b"new")])
        else:
            with store.open_write(f"{tmp_path}/x") as file:
                file.write(b"new")

    with pytest.raises(meaning) as caught:
        write()
    assert caught.value.where.startswith(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert store.get(f"{tmp_path}/x") == b"old"


def test_the_file_and_its_folders_are_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").resolve().relative_to(tmp_path)))

    monkeypatch.setattr(os, "fsync", watch)
    LocalStore().put(f"{tmp_path}/a/b/x", b"1")
    assert synced[:2] == [".", "a"]  # the names of the new folders
    assert synced[2].startswith("a/b/.unfinished-")  # the bytes
    assert synced[3] == "a/b"  # the file's name


def test_a_folder_that_may_not_be_written_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MulgilError):
        LocalStore().put(f"{tmp_path}/file/below", b"")
    with pytest.raises(Broken, match="absolute"):
        LocalStore().put("relative/path", b"")


def test_what_a_crash_left_is_swept_and_never_listed(tmp_path: Path) -> None:
    store = LocalStore()
    store.put(f"{tmp_path}/data/x", b"1")
    (tmp_path / "data" / ".unfinished-1").write_bytes(b"half")
    assert list(store.list(f"{tmp_path}/")) == [f"{tmp_path}/data/x"]
    assert store.sweep_unfinished(f"{tmp_path}/") == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["x"]


def test_file_urls_name_the_same_files(tmp_path: Path) -> None:
    LocalStore().put(f"file://{tmp_path}/x", b"1")
    assert LocalStore().get(f"{tmp_path}/x") == b"1"
