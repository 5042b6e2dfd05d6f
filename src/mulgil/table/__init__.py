"""Iceberg tables, written leanly: what a commit costs follows its new files, not the table's age.

Delivery writes files and stages appends; the catalog keeps the pointers and fills `Pointer`; query plans from
`Table.files()`. The caller holds the table's lock from staging to the swap of the pointer. Not here: names of tables,
transactions, when to compact.
"""

from mulgil.table.commit import Pointer, Staged, abandoned, stage_append, stage_replace
from mulgil.table.compact import Compaction, plan_compaction, rewrite
from mulgil.table.evolve import Evolution, evolve
from mulgil.table.expire import Garbage, sweepable
from mulgil.table.files import write_files
from mulgil.table.manifest import ColumnStatistics, DataFile, LiveFile
from mulgil.table.metadata import Snapshot, Table, load, new
from mulgil.table.read import scan
from mulgil.table.retype import can_be_doubles, stage_doubles
from mulgil.table.settings import TableSettings

__all__ = [
    "ColumnStatistics",
    "Compaction",
    "DataFile",
    "Evolution",
    "Garbage",
    "LiveFile",
    "Pointer",
    "Snapshot",
    "Staged",
    "Table",
    "TableSettings",
    "abandoned",
    "can_be_doubles",
    "evolve",
    "load",
    "new",
    "plan_compaction",
    "rewrite",
    "scan",
    "stage_append",
    "stage_doubles",
    "stage_replace",
    "sweepable",
    "write_files",
]
