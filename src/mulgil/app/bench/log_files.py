"""Deterministic log files for benchmarks: access logs in the combined format, JSON events of 370 bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path

BLOCK = 20_000


def combined(path: Path, megabytes: int) -> None:
    """An nginx access log; about 210 bytes a line, a day's times in order."""
    chance = random.Random(1)
    agents = [
        f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{n} (KHTML, like Gecko) Chrome/{n}.0 Safari/537.{n}"
        for n in range(60)
    ]
    pages = [f"/clinics/{n}/doctors/{n % 97}?page={n % 7}&sort=near" for n in range(5_000)]
    second = 0
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            lines = []
            for index in range(BLOCK):
                second += index % 120 == 0
                time = f"22/Nov/2026:{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d} +0900"
                host = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"
                page, agent = chance.choice(pages), chance.choice(agents)
                size = chance.randrange(200, 60_000)
                lines.append(
                    f'{host} - - [{time}] "GET {page} HTTP/1.1" 200 {size} "https://clinics.example{page}" "{agent}"\n'
                )
            file.write("".join(lines))


def events(path: Path, megabytes: int) -> None:
    """Behaviour events, one JSON object a line, about 370 bytes each."""
    chance = random.Random(2)
    with path.open("w") as file:
        while file.tell() < megabytes * 1_000_000:
            lines = []
            for index in range(BLOCK):
                event = {
                    "event_id": f"{chance.getrandbits(128):032x}",
                    "event_time": f"2026-11-22T{index % 24:02d}:{index % 60:02d}:00.{chance.randrange(1000):03d}Z",
                    "event": chance.choice(("page_view", "search", "reserve", "click")),
                    "user_id": chance.randrange(2_000_000),
                    "session": f"{chance.getrandbits(64):016x}",
                    "clinic_id": chance.randrange(5_000),
                    "url": f"https://clinics.example/clinics/{chance.randrange(5_000)}/doctors?page={index % 9}",
                    "price": chance.randrange(100, 10_000) / 100 + 0.001,
                    "agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1",
                    "props": {"variant": chance.choice("ab"), "rank": index % 30},
                }
                lines.append(json.dumps(event, separators=(",", ":")) + "\n")
            file.write("".join(lines))
