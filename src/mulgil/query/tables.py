"""What SQL needs to know of the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mulgil.table import Table


class Tables(Protocol):
    """Names and what they point to. `mulgil.catalog.Catalog` fills it."""

    def names(self) -> list[str]:
        """All tables as `database.table`."""
        ...

    def load_all(self, names: Iterable[str]) -> dict[str, Table]:
        """Those of the tables that exist, as they were together at one moment (one transaction reads all pointers)."""
        ...
