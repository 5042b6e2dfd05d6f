"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

ALL = (
    ("http_ingest",),
    ("files_to_iceberg",),
    ("decode_formats",),
    ("stream_append",),
    ("query_overhead",),
    ("table_day_of_commits", "--hours", "2"),
)

for name, *options in ALL:
    print(f"\n== {name} {' '.join(options)}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)
