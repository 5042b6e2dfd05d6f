"""What every command about a project works on."""

from __future__ import annotations

from dataclasses import dataclass

from mulgil import catalog, state, table
from mulgil.app.settings import ProjectSettings
from mulgil.clock import Clock


@dataclass
class Lake:
    """State and tables of a project; `wiring.open_lake` makes it."""

    project: ProjectSettings
    clock: Clock
    database: state.Database
    catalog: catalog.Catalog
    table_settings: table.TableSettings

    def close(self) -> None:
        """Give back what is held."""
        self.database.close()
