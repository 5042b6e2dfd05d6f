"""What is no mistake in a project file but worth a word before `mulgil run`: no file matches, anybody could listen.

Called by `mulgil check`. Looks at the disk; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mulgil.app.settings import FilesSourceSettings, HttpSourceSettings, ProjectSettings
from mulgil.sources.files.globs import Globs


def warnings(project: ProjectSettings) -> list[str]:
    """One sentence or two each."""
    return list(_warnings(project))


def _warnings(project: ProjectSettings) -> Iterator[str]:
    if not project.listen.is_loopback:
        yield (
            f"listen: {project.listen} can be reached from other machines, so `mulgil run` asks for a key; "
            "make one with `mulgil key create`"
        )
        if project.tls is None:
            yield f"listen: {project.listen} without tls sends keys in clear; set tls, or put a proxy before it"
    if project.tls is not None:
        for name, path in (("cert", project.tls.cert), ("key", project.tls.key)):
            if not path.is_file():
                yield f"tls.{name}: there is no file {path}"
    for name, source in project.sources.items():
        if isinstance(source, FilesSourceSettings):
            for pattern in source.path:
                yield from _unmatched(f"sources.{name}.path", pattern, source.exclude)
        if isinstance(source, HttpSourceSettings) and "*" in source.cors:
            yield f'sources.{name}.cors: "*" lets every page on the web post events'


def _unmatched(key: str, pattern: str, exclude: tuple[str, ...]) -> Iterator[str]:
    problems: list[str] = []
    found = Globs((pattern,), exclude).scan(lambda path, what, hint: problems.append(f"{key}: {path} {what}; {hint}"))
    yield from problems
    if Path(pattern).is_dir():
        yield f"{key}: {pattern} is a folder; write which of its files, such as {pattern}/*.log"
    elif not found and not problems:
        yield f"{key}: no file matches {pattern} yet"
    unreadable = [one.path for one in found.values() if not os.access(one.path, os.R_OK)]
    if unreadable:
        yield f"{key}: this user cannot read {unreadable[0]}" + (
            f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        )
