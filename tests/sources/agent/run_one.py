"""The agent as a process of its own, for tests that kill it: `python run_one.py URL STATE GLOB`."""

from __future__ import annotations

import sys
import threading

from mulgil.clock import SystemClock
from mulgil.sources.agent import AgentFlow, AgentSettings, run_agent
from mulgil.sources.files import FilesSettings

if __name__ == "__main__":
    url, state, glob = sys.argv[1:4]
    files = FilesSettings("web", (glob,), scan_interval_s=0.01, partial_after_s=0.2, settle_s=0.1)
    settings = AgentSettings(
        url, (AgentFlow("web", files),), state, batch_bytes=20_000, poll_interval_s=0.005, retry_s_max=0.1
    )
    for heavy in ("pyarrow", "duckdb", "pyiceberg"):
        assert heavy not in sys.modules, f"the agent imports {heavy}"
    print("ready", flush=True)
    run_agent(settings, SystemClock(), threading.Event())
