"""Tails log files: the `files` source of a project, and what the agent on another host reads with.

Callers: `app` builds `FilesSource`, delivery polls it, `sources.agent` ships its blocks. Not here: formats are not
parsed, nothing is stored; positions come in by `resume` and go out as marks.
"""

from mulgil.sources.files.settings import FilesSettings
from mulgil.sources.files.source import FilesSource

__all__ = ["FilesSettings", "FilesSource"]
