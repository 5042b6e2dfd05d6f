"""What is no mistake in a project file but worth a word before `mulgil run`: no file matches, anybody could listen.

Called by `mulgil check`. Looks at the disk; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mulgil.app.settings import FilesSourceSettings, HttpSourceSettings, ProjectSettings
from mulgil.app.unmatched import unmatched


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
                yield from (f"sources.{name}.path: {one}" for one in unmatched(pattern, source.exclude))
        if isinstance(source, HttpSourceSettings) and "*" in source.cors:
            yield f'sources.{name}.cors: "*" lets every page on the web post events'
