"""SQL over the lake's tables: names found by DuckDB's parser, pointers read in one transaction, files planned by us.

DuckDB runs it without extensions.

The command line, `mulgil.open()` and later the wire's Athena call `Engine`. It reads and never writes. Not here: how
tables change, how rows are printed.
"""

from mulgil.query.engine import Engine
from mulgil.query.result import Result
from mulgil.query.settings import QuerySettings
from mulgil.query.tables import Tables

__all__ = ["Engine", "QuerySettings", "Result", "Tables"]
