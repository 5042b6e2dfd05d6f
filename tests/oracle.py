"""Readers that know nothing of Mulgil, to ask whether they see the same rows.

PyIceberg is a dependency anyway. DuckDB's iceberg extension exists as a wheel for DuckDB 1.5.5 alone, so it lives in an
environment of its own, in the user's cache folder, made when it is first asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable

DUCKDB_VERSION = "1.5.5"
_PACKAGES = [f"{name}=={DUCKDB_VERSION}" for name in ("duckdb", "duckdb-extension-avro", "duckdb-extension-iceberg")]
_SCRIPT = f"""
import json, sys, importlib.util, pathlib, duckdb
connection = duckdb.connect(config={{"allow_unsigned_extensions": "true"}})
for name in ("avro", "iceberg"):
    (folder,) = importlib.util.find_spec(f"duckdb_extension_{{name}}").submodule_search_locations
    path = pathlib.Path(folder) / "extensions" / "v{DUCKDB_VERSION}" / f"{{name}}.duckdb_extension"
    connection.execute(f"LOAD '{{path}}'")
connection.execute("SET TimeZone = 'UTC'")
rows = connection.execute(f"SELECT CAST(to_json(row) AS VARCHAR) FROM ({{sys.stdin.read()}}) AS row").fetchall()
print(json.dumps([list(json.loads(row[0]).values()) for row in rows]))
"""


def duckdb_oracle(sql: str) -> list[tuple[Any, ...]]:
    """The rows of one SELECT in DuckDB 1.5.5 with its iceberg extension (`iceberg_scan('…metadata.json')`).

    Values are as JSON has them: times are texts in UTC.
    """
    done = subprocess.run([_environment(), "-c", _SCRIPT], input=sql, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{sql}\n{done.stderr}"
    return [tuple(row) for row in json.loads(done.stdout)]


def pyiceberg_rows(
    place: str | Path, name: str = "", *, snapshot_id: int | None = None, row_filter: Any = None
) -> pa.Table:
    """A table's rows as PyIceberg reads them. `place`: a metadata file; or a state database, with the table's name."""
    if str(place).endswith(".metadata.json"):
        table: Any = StaticTable.from_metadata(str(place))
    else:
        catalog = SqlCatalog("mulgil", uri=f"sqlite:///{place}", init_catalog_tables="false")
        try:
            table = catalog.load_table(name)
        finally:
            catalog.engine.dispose()
    more = {} if row_filter is None else {"row_filter": row_filter}
    return table.scan(snapshot_id=snapshot_id, **more).to_arrow()


def _environment() -> str:
    """The Python that has DuckDB's extensions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mulgil-oracle"
    python = cache / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    known = (
        subprocess.run([python, "-c", "import duckdb_extension_iceberg"], capture_output=True, check=False)
        if python.exists()
        else None
    )
    if known is None or known.returncode:
        venv.create(cache, with_pip=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", *_PACKAGES], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"DuckDB's extensions cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return str(python)
