"""Every metric and the one way to log, so that an operator can read here what the product says of itself.

Names follow Prometheus: `mulgil_<what>_<unit>[_total]`. Log records are JSON lines on standard error.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from time import gmtime, strftime
from typing import Any, Literal, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mulgil.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it counts, and by which labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("mulgil_http_requests_total", "counter", "Requests at the HTTP door", ("source", "status")),
    Metric("mulgil_http_accepted_records_total", "counter", "Records acknowledged at the HTTP door", ("source",)),
    Metric("mulgil_http_accepted_bytes_total", "counter", "Bytes of acknowledged records, uncompressed", ("source",)),
    Metric("mulgil_delivered_rows_total", "counter", "Rows committed into tables", ("source", "table")),
    Metric("mulgil_quarantined_records_total", "counter", "Records put into quarantine", ("source", "table")),
    Metric("mulgil_deduplicated_records_total", "counter", "Records that were in the lake already", ("source",)),
    Metric("mulgil_unreadable_bytes_total", "counter", "Bytes that existed and could not be read", ("source",)),
    Metric("mulgil_commits_total", "counter", "Commits of tables", ("table", "kind")),
    Metric("mulgil_commit_seconds", "histogram", "From decoded rows to the committed transaction", ("table",)),
    Metric(
        "mulgil_lag_seconds", "gauge", "Age of the oldest record that is acknowledged but not in the lake", ("source",)
    ),
    Metric("mulgil_waiting_bytes", "gauge", "Bytes that wait before the lake", ("source",)),
    Metric("mulgil_unreadable_files", "gauge", "Files that cannot be read at present; others are", ("source",)),
    Metric("mulgil_source_up", "gauge", "1 while the source delivers, 0 while it is stopped by an error", ("source",)),
    Metric("mulgil_stream_bytes", "gauge", "Size of the stream on disk", ("source",)),
    Metric("mulgil_disk_free_bytes", "gauge", "Free space where the stream lies"),
    Metric("mulgil_resident_memory_bytes", "gauge", "Memory that the process holds"),
)

COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one process. `count`, `set` and `observe` are safe from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._by_name: dict[str, Counter | Gauge | Histogram] = {}
        for metric in METRICS:
            if metric.kind == "counter":
                made: Counter | Gauge | Histogram = Counter(
                    metric.name, metric.help, metric.labels, registry=self._registry
                )
            elif metric.kind == "gauge":
                made = Gauge(metric.name, metric.help, metric.labels, registry=self._registry)
            else:
                made = Histogram(
                    metric.name, metric.help, metric.labels, registry=self._registry, buckets=COMMIT_BUCKETS_S
                )
            self._by_name[metric.name] = made

    def count(self, name: str, amount: float, *labels: str) -> None:
        """Add to a counter; nothing for 0."""
        if amount:
            metric = self._by_name[name]
            assert isinstance(metric, Counter)
            (metric.labels(*labels) if labels else metric).inc(amount)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        metric = self._by_name[name]
        assert isinstance(metric, Gauge)
        (metric.labels(*labels) if labels else metric).set(value)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add an observation to a histogram."""
        metric = self._by_name[name]
        assert isinstance(metric, Histogram)
        (metric.labels(*labels) if labels else metric).observe(value)

    def value(self, name: str, *labels: str) -> float:
        """The present value of a counter or gauge; 0 where it was never touched."""
        found = self._registry.get_sample_value(name, dict(zip(self._labels(name), labels, strict=True)))
        return found or 0.0

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _labels(self, name: str) -> tuple[str, ...]:
        return next(metric.labels for metric in METRICS if metric.name == name)


class Log:
    """JSON lines: time, level, event, and what belongs to it. Secrets are never handed in."""

    def __init__(self, stream: TextIO | None = None, clock: Clock | None = None) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()

    def info(self, event: str, **what: Any) -> None:
        """Something an operator may want to know."""
        self._write("info", event, what)

    def warning(self, event: str, **what: Any) -> None:
        """Something that goes on by itself, but should be looked at."""
        self._write("warning", event, what)

    def error(self, event: str, **what: Any) -> None:
        """Something that has stopped."""
        self._write("error", event, what)

    def _write(self, level: str, event: str, what: dict[str, Any]) -> None:
        now_us = self._clock.now_us()
        seconds, micros = divmod(now_us, 1_000_000)
        said = {"time": f"{_iso(seconds)}.{micros:06d}Z", "level": level, "event": event, **what}
        line = json.dumps(said, default=str, ensure_ascii=False)
        with self._lock, suppress(OSError, ValueError):  # nobody reads the log any more: no reason to stop delivering
            self._stream.write(line + "\n")
            self._stream.flush()


def _iso(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))
