"""Mulgil (물길, "waterway"): from events and log files to SQL, exactly once.

import mulgil
with mulgil.open("clinic") as clinic:
    clinic.sql("SELECT count(*) FROM bronze.web").polars()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mulgil.app.project import Project

__all__ = ["open"]


def open(folder: str | Path | None = None) -> Project:
    """Open a project to read it: the folder with its mulgil.yaml; without one, the current folder or one above.

    Raises `mulgil.errors.Missing` where there is none.
    """
    # Whoever imports any room imports this file first, so it loads nothing until it is asked (decision 0002).
    from mulgil.app.project import Project

    return Project(folder)
