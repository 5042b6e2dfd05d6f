"""Durable ingest over HTTP: acknowledged events, latency at half load, and minutes all the way to committed Iceberg.

    python -m benchmarks.http_ingest [--seconds 20] [--sustain 120] [--offered 85000] [--no-peers]

The server is a real `mulgil run`; the load generator runs beside it on the same cores. Peers in the same run, with the
same events as Kinesis PutRecords: moto's server and kinesalite, both of which keep records in memory alone. They are
installed into a folder of their own below the user's cache the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mulgil.app.bench.http_load import AWS
from mulgil.app.bench.measure import WEB, load, wait_for_delivery
from mulgil.app.bench.server import Server, cost_of, free_port

PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mulgil-bench-peers"


def acknowledged(seconds: float) -> float:
    server = Server(WEB)
    try:
        idle = server.cost()
        full = load(server.port, "mulgil", seconds)
        used = server.cost()
        cpu = used.cpu_s - idle.cpu_s
        print(f"idle memory         {idle.resident_mb:10.0f} MB")
        print(f"acknowledged        {full['events_per_s']:10,.0f} events/s of {full['event_bytes']:.0f} bytes")
        print(f"latency             {full['p50_ms']:10.1f} ms p50, {full['p99_ms']:.1f} ms p99, at full load")
        print(f"server CPU          {cpu:10.1f} s in {full['seconds']:.1f} s, delivery included")
        print(f"refused             {full['refused']:10}")
        wait_for_delivery(server)
        half = load(server.port, "mulgil", seconds, full["events_per_s"] / 2)
        print(f"at half that load   {half['p50_ms']:10.1f} ms p50, {half['p99_ms']:.1f} ms p99")
        wait_for_delivery(server)
        print(f"peak memory         {server.cost().peak_mb:10.0f} MB")
        server.command("ledger")
        return float(full["events_per_s"])
    finally:
        server.close()


def sustained(seconds: float, rate: float) -> None:
    server = Server(WEB)
    try:
        began, before = time.perf_counter(), server.cost()
        full = load(server.port, "mulgil", seconds, rate)
        wait_for_delivery(server)
        took, used = time.perf_counter() - began, server.cost()
        rows = server.health()["sources"]["web"]["delivered_rows"]
        print(f"into Iceberg        {rows / took:10,.0f} rows/s for {took:.0f} s, all {rows:,} committed")
        print(f"server CPU          {rows / (used.cpu_s - before.cpu_s):10,.0f} rows per CPU second, HTTP included")
        print(
            f"latency             {full['p50_ms']:10.1f} ms p50, {full['p99_ms']:.1f} ms p99; refused {full['refused']}"
        )
        print(f"peak memory         {used.peak_mb:10.0f} MB")
        print(server.command("ledger").rstrip())
    finally:
        server.close()


@contextmanager
def moto() -> Iterator[tuple[int, int]]:
    venv = PEERS / "moto"
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "moto[server,kinesis]"], check=True)
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([venv / "bin/moto_server", "-p", str(port)], **quiet)  # type: ignore[call-overload]
    try:
        create_stream(port)
        yield port, process.pid
    finally:
        process.kill()


@contextmanager
def kinesalite() -> Iterator[tuple[int, int]]:
    folder = PEERS / "kinesalite"
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "kinesalite"], cwd=folder, check=True)
    port = free_port()
    line = ["node", "node_modules/kinesalite/cli.js", "--port", str(port), "--createStreamMs", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(line, cwd=folder, **quiet)  # type: ignore[call-overload]
    try:
        create_stream(port)
        yield port, process.pid
    finally:
        process.kill()


def create_stream(port: int) -> None:
    import http.client

    headers = AWS | {"x-amz-target": "Kinesis_20131202.CreateStream"}
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", "/", json.dumps({"StreamName": "web", "ShardCount": 2}), headers)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                time.sleep(1)
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise SystemExit("the peer does not answer")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--sustain", type=float, default=120)
    arguments.add_argument("--offered", type=float, default=85_000)
    arguments.add_argument("--no-peers", action="store_true")
    given = arguments.parse_args()
    ours = acknowledged(given.seconds)
    if not given.no_peers:
        for name, peer in (("moto", moto), ("kinesalite", kinesalite)):
            if name == "kinesalite" and not shutil.which("npm"):
                print("kinesalite          needs npm, which is not here")
                continue
            with peer() as (port, pid):
                theirs = load(port, "kinesis", min(10, given.seconds))
                line = f"{theirs['events_per_s']:10,.0f} events/s, p99 {theirs['p99_ms']:.1f} ms, nothing on disk"
                print(f"{name:<20}{line}, {cost_of(pid).cpu_s:.1f} CPU s")
                print(f"ratio to {name:<11}{ours / theirs['events_per_s']:10.1f}")
    if given.sustain:
        sustained(given.sustain, given.offered)


if __name__ == "__main__":
    main()
