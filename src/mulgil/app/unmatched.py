"""What is odd about a pattern of files before anything is read: it matches none, or what this user cannot read.

Called by `mulgil check` and `mulgil agent`. Looks at the disk; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mulgil.sources.files.globs import Globs


def unmatched(pattern: str, exclude: Sequence[str]) -> Iterator[str]:
    """One sentence for each oddity; none when all is well."""
    problems: list[str] = []
    found = Globs((pattern,), tuple(exclude)).scan(lambda path, what, hint: problems.append(f"{path} {what}; {hint}"))
    yield from problems
    if Path(pattern).is_dir():
        yield f"{pattern} is a folder; write which of its files, such as {pattern}/*.log"
    elif not found and not problems:
        yield f"no file matches {pattern} yet"
    unreadable = [one.path for one in found.values() if not os.access(one.path, os.R_OK)]
    if unreadable:
        yield f"this user cannot read {unreadable[0]}" + (
            f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        )
