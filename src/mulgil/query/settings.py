"""What a user may tune about SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """Limits of the SQL engine."""

    external_access: bool = True
    """Whether SQL may read files beside the lake (`read_csv('x.csv')`, `FROM 'x.parquet'`): a convenience on one's own
    machine. Off, the engine opens nothing but the files of the tables that a statement names."""
    threads: int = 0
    """Threads that one process uses for SQL; 0: one for each core."""
    memory_bytes_max: int = 0
    """Memory of all running statements together, before they spill to disk; 0: four fifths of the machine's."""
    temporary_folder: str = ""
    """Where large sorts and joins spill to; empty: a folder of this process under the system's temporary one."""
