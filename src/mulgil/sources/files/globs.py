"""Which files there are: globs walked folder by folder, one `stat` a file. Called by `tracker`."""
# Paths are strings: with 10,000 files pathlib costs more than the rest of a scan.
# ruff: noqa: PTH100, PTH114, PTH116, PTH118, PTH119

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable
from typing import NamedTuple

Report = Callable[[str, str, str], None]
"""Takes a problem: path, what is wrong, hint."""

MAGIC = re.compile(r"[*?\[]")
KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Found(NamedTuple):
    """A regular file as one look found it."""

    path: str
    device: int
    inode: int
    size: int
    """bytes on disk"""
    mtime_ns: int

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode


class Globs:
    """The files that some globs match."""

    def __init__(self, paths: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._patterns = [
            [compiled(part) for part in parts(os.path.abspath(one))] for path in paths for one in braces(path)
        ]
        self._excluded = [
            re.compile(fnmatch.translate(one if "/" not in one else os.path.abspath(one)))
            for path in exclude
            for one in braces(path)
        ]
        self._exclude_whole = [("/" in one) for path in exclude for one in braces(path)]

    def scan(self, report: Report) -> dict[tuple[int, int], Found]:
        """Every regular file that matches now, by device and inode: hard links and symbolic links count once."""
        found: dict[tuple[int, int], Found] = {}
        for pattern in self._patterns:
            self._walk("/", pattern, found, report)
        return found

    def _walk(
        self, folder: str, pattern: list[str | re.Pattern[str]], found: dict[tuple[int, int], Found], report: Report
    ) -> None:
        while len(pattern) > 1 and isinstance(pattern[0], str) and pattern[0] != "**":
            folder = os.path.join(folder, pattern[0])
            pattern = pattern[1:]
        first, rest = pattern[0], pattern[1:]
        if isinstance(first, str) and first != "**":
            path = os.path.join(folder, first)
            try:
                self._take(path, os.stat(path), os.path.islink(path), found, report)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                report(path, f"cannot be looked at: {error.strerror}", "check the permissions of its folders")
            return
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            report(folder, f"the folder cannot be listed: {error.strerror}", "give this process read and search rights")
            return
        deeper: list[tuple[str, list[str | re.Pattern[str]]]] = []
        if first == "**":
            deeper.append((folder, rest))
        with entries:
            for entry in entries:
                if first == "**":
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        deeper.append((entry.path, pattern))
                elif not first.match(entry.name):  # type: ignore[union-attr]  # a pattern: strings were handled above
                    continue
                elif rest:
                    if entry.is_dir():
                        deeper.append((entry.path, rest))
                else:
                    try:
                        self._take(entry.path, entry.stat(), entry.is_symlink(), found, report)
                    except FileNotFoundError:
                        continue  # gone since it was listed, or a symbolic link to nothing
                    except OSError as error:
                        report(entry.path, f"cannot be looked at: {error.strerror}", "check its permissions")
        for path, left in deeper:
            self._walk(path, left, found, report)

    def _take(
        self, path: str, status: os.stat_result, link: bool, found: dict[tuple[int, int], Found], report: Report
    ) -> None:
        if self._excluded:
            name = os.path.basename(path)
            for one, whole in zip(self._excluded, self._exclude_whole, strict=True):
                if one.match(path if whole else name):
                    return
        if not stat.S_ISREG(status.st_mode):
            for is_kind, what in KINDS:
                if is_kind(status.st_mode):
                    report(path, f"is {what}, not a file", "leave it out with `exclude:`")
            return
        if link:
            path = os.path.realpath(path)
        file = Found(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        other = found.get(file.key)
        if other is None or path < other.path:
            found[file.key] = file


def neighbours(folder: str) -> list[Found]:
    """All regular files of a folder, whatever their names; none where it cannot be listed."""
    files = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    files.append(Found(entry.path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError:
        return []
    return files


def braces(path: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`."""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", path)
    if match is None:
        return [path]
    return [
        one
        for choice in match.group(1).split(",")
        for one in braces(path[: match.start()] + choice + path[match.end() :])
    ]


def parts(path: str) -> list[str]:
    """An absolute glob's parts; a `**` at its end means every file below."""
    found = [part for part in path.split("/") if part]
    return [*found, "*"] if found and found[-1] == "**" else found


def compiled(part: str) -> str | re.Pattern[str]:
    """A plain part or `**` as it is, else an expression; like a shell's, it matches hidden names only where it names
    the dot."""
    if part == "**" or not MAGIC.search(part):
        return part
    expression = fnmatch.translate(part)
    return re.compile(expression if part.startswith(".") else rf"(?!\.){expression}")
