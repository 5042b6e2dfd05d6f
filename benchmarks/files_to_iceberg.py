"""Log files to committed Iceberg: megabytes per CPU second, beside the bare kernels and dlt.

    python -m benchmarks.files_to_iceberg [--megabytes 400] [--no-dlt]

Each contestant is a process of its own, start and imports included, and its CPU seconds are what the kernel accounted
to it. Kernels: DuckDB `read_json` to Parquet, Arrow's CSV reader to Parquet (which splits fields and converts nothing).
dlt (filesystem source, Parquet) is installed into a folder of its own below the user's cache the first time; it gets a
tenth of the input and is compared by rate.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mulgil.app.bench import log_files
from mulgil.app.bench.measure import cost, run_once

PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mulgil-bench-peers"

KERNEL_JSON = """
import sys, duckdb
columns = ("{{event_id:'VARCHAR',event_time:'VARCHAR',event:'VARCHAR',user_id:'BIGINT',session:'VARCHAR',"
           "clinic_id:'BIGINT',url:'VARCHAR',price:'DOUBLE',agent:'VARCHAR',"
           "props:'STRUCT(variant VARCHAR, rank BIGINT)'}}")
duckdb.execute("SET threads = 1")
duckdb.execute(f"COPY (FROM read_json('{path}', columns={{columns}}, format='newline_delimited'))"
               " TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
"""

KERNEL_CSV = """
import pyarrow.csv as pc, pyarrow.parquet as pq
names = [f"c{{n}}" for n in range(10)]
reader = pc.open_csv('{path}', read_options=pc.ReadOptions(column_names=names, use_threads=False, block_size=1 << 24),
                     parse_options=pc.ParseOptions(delimiter=" "))
writer = None
for batch in reader:
    writer = writer or pq.ParquetWriter('{out}', batch.schema, compression="zstd", compression_level=1)
    writer.write_batch(batch)
writer.close()
"""

DLT = """
import dlt
from dlt.sources.filesystem import filesystem, read_jsonl
names = "host ident user time zone method path protocol status bytes referer".split()
@dlt.transformer
def lines(items):
    for item in items:
        with item.open(mode="rt") as file:
            batch = []
            for line in file:
                batch.append(dict(zip(names, line.split(" "))))
                if len(batch) == 10_000:
                    yield batch
                    batch = []
            yield batch
read = read_jsonl(chunksize=10_000) if "{kind}" == "json" else lines
there = dlt.destinations.filesystem("{out}")
pipeline = dlt.pipeline("bench", destination=there, dataset_name="bench", pipelines_dir="{out}/p")
files = filesystem("{folder}", file_glob="{name}")
pipeline.run((files | read).with_name("rows"), loader_file_format="parquet")
"""


def dlt(folder: Path, path: Path, kind: str) -> tuple[float, float]:
    venv = PEERS / "dlt"
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "dlt[filesystem,parquet]", "orjson"], check=True)
    script = DLT.format(kind=kind, folder=path.parent, name=path.name, out=folder / "dlt")
    quiet = os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
    return cost([str(venv / "bin/python"), "-c", script], cwd=folder, env=quiet)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=int, default=400)
    arguments.add_argument("--no-dlt", action="store_true")
    given = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mulgil-bench-"))
    try:
        for kind, make, kernel in (
            ("combined", log_files.combined, ("Arrow CSV", KERNEL_CSV)),
            ("json", log_files.events, ("DuckDB read_json", KERNEL_JSON)),
        ):
            path = folder / f"{kind}.log"
            make(path, given.megabytes)
            size = path.stat().st_size / 1e6
            code = kernel[1].format(path=path, out=folder / "kernel.parquet")
            bare, _ = cost([sys.executable, "-c", code])
            cpu, wall = run_once(folder / "project", path, kind)
            print(f"{kind}: {size:.0f} MB")
            print(f"  mulgil run --once    {size / cpu:7.0f} MB per CPU second   ({cpu:.1f} CPU s, {wall:.1f} s)")
            print(f"  {kernel[0]:<20} {size / bare:7.0f} MB per CPU second   mulgil keeps {bare / cpu:.0%}")
            if not given.no_dlt:
                small = folder / f"small-{kind}.log"
                make(small, max(1, given.megabytes // 10))
                less = small.stat().st_size / 1e6
                theirs, _ = dlt(folder, small, kind)
                times = size / cpu / (less / theirs)
                print(f"  dlt to Parquet       {less / theirs:7.1f} MB per CPU second   mulgil is {times:.0f} times")
                shutil.rmtree(folder / "dlt")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
