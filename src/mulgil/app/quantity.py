"""Durations and sizes as people write them: `7d`, `500ms`, `64MB`.

Called by the settings only. A unit is always asked for where the setting's name does not hold one, because `7` alone
means seconds to one reader and days to another.
"""

from __future__ import annotations

import re

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
DURATION_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|min|h|d|w)\s*$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT][iI]?)?[bB]\s*$"
_PARTS = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*\Z")


def duration_s(text: str) -> float:
    """Seconds in `500ms`, `30s`, `5m` (or `5min`), `12h`, `7d`, `2w`. Raises `ValueError` for anything else."""
    return _amount(text, SECONDS)


def size_bytes(text: str) -> int:
    """Bytes in `500B`, `64MB` (millions), `64MiB` (1024 * 1024). Raises `ValueError` for anything else."""
    return int(_amount(text, BYTES))


def duration_text(seconds: float) -> str:
    """The shortest whole way to write it: `7d`, `90s`, `500ms`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{int(seconds / SECONDS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


def _amount(text: str, units: dict[str, float] | dict[str, int]) -> float:
    parts = _PARTS.match(text)
    if parts is None or parts[2].lower() not in units:
        raise ValueError(text)
    return float(parts[1]) * units[parts[2].lower()]
