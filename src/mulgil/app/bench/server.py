"""A real `mulgil run` in a folder of its own, and what it costs: shared by the benchmarks that need a server."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulgil.errors import Invalid

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Cost:
    """What a process has used."""

    cpu_s: float
    resident_mb: float
    peak_mb: float


def cost_of(pid: int) -> Cost:
    """CPU seconds and memory of one process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    kilobytes = {name: int(status[name].split()[0]) for name in ("VmRSS", "VmHWM")}
    return Cost((int(fields[11]) + int(fields[12])) * TICK_S, kilobytes["VmRSS"] / 1024, kilobytes["VmHWM"] / 1024)


class Server:
    """`mulgil run` on a free port, in a temporary project."""

    def __init__(self, sources: str, folder: Path | None = None) -> None:
        """`sources`: the YAML below `sources:`, indented by two."""
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="mulgil-bench-", dir=folder))
        except OSError as error:
            raise Invalid(f"nothing can be written there: {error.strerror}", where=str(folder or "")) from error
        self.port = free_port()
        self.project = self.folder / "mulgil.yaml"
        self.project.write_text(f"listen: 127.0.0.1:{self.port}\nsources:\n{sources}")
        self._log = (self.folder / "run.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mulgil", "run", "--project", self.folder], stderr=self._log
        )
        for _ in range(200):
            try:
                self.get("/healthz")
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit((self.folder / "run.log").read_text())

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/healthz"))
        return found

    def cost(self) -> Cost:
        return cost_of(self.process.pid)

    def command(self, *arguments: str) -> str:
        """Run a mulgil command on the project; its output."""
        line = [sys.executable, "-m", "mulgil", *arguments, "--project", str(self.folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._log.close()
        shutil.rmtree(self.folder)
