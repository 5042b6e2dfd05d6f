"""Files in local folders: written beside, synced, renamed, and the folder synced."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mulgil.errors import Broken, Missing, MulgilError, Overloaded, Retry
from mulgil.ids import new_uuid
from mulgil.storage.store import Data

UNFINISHED = ".unfinished-"
"""Names of files that are being written begin with this; a crash may leave some behind."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_PASSING = {
    errno.EIO,
    errno.EAGAIN,
    errno.EINTR,
    errno.EBUSY,
    errno.EROFS,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ETXTBSY,
}
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_WRITE_ALL_THREADS = 4


class LocalStore:
    """A `Store` in the local file system, on any absolute path; `file://` before it is understood."""

    def put(self, path: str, data: Data) -> None:
        """See `Store.put`."""
        self._place([(path, data)])

    def put_all(self, files: Sequence[tuple[str, Data]]) -> None:
        """See `Store.put_all`. The syncs run side by side, and each folder is synced once."""
        self._place(files)

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        """See `Store.open_write`."""
        target = _local(path)
        beside = _beside(target)
        with _named(path):
            _make_folder(target.parent)
            try:
                with beside.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(target)
            except BaseException:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def get(self, path: str) -> bytes:
        """See `Store.get`."""
        with _named(path):
            return _local(path).read_bytes()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        with _named(path), _local(path).open("rb", buffering=0) as file:
            pieces = []
            while length > 0 and (piece := os.pread(file.fileno(), length, start)):
                pieces.append(piece)
                start += len(piece)
                length -= len(piece)
            return b"".join(pieces)

    def size(self, path: str) -> int:
        """See `Store.size`."""
        with _named(path):
            if not _local(path).is_file():
                raise FileNotFoundError(errno.ENOENT, "there is no such file")
            return _local(path).stat().st_size

    def exists(self, path: str) -> bool:
        """See `Store.exists`."""
        return _local(path).is_file()

    def delete(self, path: str) -> None:
        """See `Store.delete`."""
        with _named(path):
            _local(path).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        """See `Store.list`."""
        return iter(path for path in _walk(prefix) if not _name(path).startswith(UNFINISHED))

    def sweep_unfinished(self, prefix: str) -> int:
        """Delete what a crash left half-written below `prefix`; how many files that were.

        Only for the one process that writes there, before it writes: it would take another's open files for leftovers.
        """
        left = [path for path in _walk(prefix) if _name(path).startswith(UNFINISHED)]
        for path in left:
            self.delete(path)
        return len(left)

    def _place(self, files: Sequence[tuple[str, Data]]) -> None:
        """Write all beside, rename all, sync the folders. What fails on the way leaves nothing behind."""
        with _named(files[0][0] if len(files) == 1 else "", many=len(files)):
            placed = [(_local(path), _beside(_local(path)), data) for path, data in files]
            folders = {target.parent for target, _, _ in placed}
            for folder in folders:
                _make_folder(folder)
            try:
                if len(placed) == 1:
                    _write_beside(placed[0])
                elif placed:
                    with ThreadPoolExecutor(min(_WRITE_ALL_THREADS, len(placed))) as pool:
                        list(pool.map(_write_beside, placed))
                for target, beside, _ in placed:
                    beside.replace(target)
            except BaseException:
                for _, beside, _ in placed:
                    with suppress(OSError):
                        beside.unlink(missing_ok=True)
                raise
            for folder in folders:
                _sync_folder(folder)


def _walk(prefix: str) -> list[str]:
    """The paths of all files below the prefix, half-written ones too."""
    start = str(_local(prefix)) + ("/" if prefix.endswith("/") else "")
    folder = Path(start) if start.endswith("/") else Path(start).parent
    with _named(prefix):
        below = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]  # noqa: PTH118
    return sorted(path for path in below if path.startswith(start))


def _write_beside(one: tuple[Path, Path, Data]) -> None:
    target, beside, data = one
    try:
        with beside.open("xb", buffering=0) as file:
            view = memoryview(data).cast("B")
            while len(view):
                view = view[file.write(view) or 0 :]
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(target)
        raise


def _make_folder(folder: Path) -> None:
    """Make the folder and those above it; a new folder's name is durable once its parent is synced."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _local(path: str) -> Path:
    local = Path(path.removeprefix("file://"))
    if not local.is_absolute():
        raise Broken("a path in storage must be absolute", where=path)
    return local


def _beside(target: Path) -> Path:
    return target.with_name(f"{UNFINISHED}{new_uuid()}")


def _name(path: str) -> str:
    return path.rpartition("/")[2]


@contextmanager
def _named(path: str, many: int = 1) -> Iterator[None]:
    """Give the system's errors the name of what the caller does next."""
    try:
        yield
    except OSError as error:
        raise _meaning(error, path or str(error.filename or f"{many} files")) from error


def _meaning(error: OSError, where: str) -> MulgilError:
    text = (error.strerror or str(error)).lower()
    if error.errno in _NOT_THERE:
        return Missing("there is no such file", where=where)
    if error.errno in _FULL:
        disk = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Overloaded(text, where=where, hint="free some disk space" if disk else "raise the limits", after_s=5.0)
    if error.errno in _PASSING:
        return Retry(text, where=where, hint="the disk may be failing" if error.errno == errno.EIO else "")
    return Broken(text, where=where, hint="may this user write there?" if isinstance(error, PermissionError) else "")
