"""Names of things: which tables there are, and which metadata file each one points to.

Delivery swaps pointers inside its transaction, query reads all it needs in one. Care (compaction, expiry's sweeping) is
driven from here, since it needs names and tables and nothing else. Not here: how a table's files look, SQL.
"""

from mulgil.catalog.care import Care, CareReport
from mulgil.catalog.catalog import CATALOG_NAME, Catalog
from mulgil.catalog.name import QUARANTINE_SUFFIX, checked_name, quarantine_of

__all__ = ["CATALOG_NAME", "QUARANTINE_SUFFIX", "Care", "CareReport", "Catalog", "checked_name", "quarantine_of"]
