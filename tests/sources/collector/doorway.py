"""What the tests of the collector share: a door on a real socket before streams in memory."""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mulgil.clock import TurnedClock
from mulgil.errors import MulgilError
from mulgil.sources.collector import CollectorSettings, Door, EndpointSettings, Receipts, Server
from mulgil.stream import MemoryStream, Stream, StreamSettings
from mulgil.telemetry import Log, Metrics

ENDPOINTS = (
    EndpointSettings("web", cors=("https://shop.example.com",), measurement_protocol=True),
    EndpointSettings("open", cors=("*",)),
    EndpointSettings("logs", takes="files"),
)


@dataclass
class Answered:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Doorway:
    """A door, who may pass (`keys`: secret to grants; empty: anybody), and what lies behind."""

    settings: CollectorSettings = field(default_factory=lambda: CollectorSettings(port=free_port()))
    keys: dict[str, set[str]] = field(default_factory=dict)
    stored: dict[tuple[str, str], int] = field(default_factory=dict)
    refusal: MulgilError | None = None
    context: ssl.SSLContext | None = None
    streams: dict[str, Stream] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = TurnedClock()
        self.metrics = Metrics()
        self.lines = io.StringIO()
        self.appended: list[str] = []
        self.healthy = True
        for one in ENDPOINTS:
            self.streams.setdefault(one.name, MemoryStream(StreamSettings(shards=2), self.clock))
        self.receipts = Receipts(lambda source, generation: self.stored.get((source, generation), 0))
        door = Door(
            self.settings,
            ENDPOINTS,
            self.streams,
            key_check=lambda key, grant: not self.keys or grant in self.keys.get(key, ()),
            clock=self.clock,
            metrics=self.metrics,
            log=Log(self.lines, self.clock),
            receipts=self.receipts,
            health=lambda: {"status": "ok" if self.healthy else "failing", "sources": {}},
            appended=self.appended.append,
            refuse=lambda source: self.refusal,
        )
        self.server = Server(door, self.settings)

    def __enter__(self) -> Doorway:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def connect(self) -> http.client.HTTPConnection:
        if self.context is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.settings.port, timeout=20, context=self.context)
        return http.client.HTTPConnection(self.settings.host, self.settings.port, timeout=20)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answered:
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes | str | None))
            response = connection.getresponse()
            return Answered(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/v1/web", **headers: str) -> Answered:
        return self.ask("POST", path, body, **headers)

    def payload(self, source: str = "web") -> list[bytes]:
        """All records of a source's stream, shard by shard."""
        stream = self.streams[source]
        found = []
        for shard in range(len(stream.ends())):
            for frame in stream.read(shard, 0, 1 << 30):
                found += frame.payload.splitlines()
        return found

    def ship(
        self, data: bytes, offset: int, *, generation: str = "g1", path: str = "/v1/logs/agent", **more: str
    ) -> Answered:
        import zlib

        headers = {
            "mulgil_host": "h", "mulgil_path": "/var/log/a", "mulgil_generation": generation,
            "mulgil_offset": str(offset), "mulgil_length": str(len(data)), "mulgil_crc32": f"{zlib.crc32(data):08x}",
        }  # fmt: skip
        return self.post(data, path, **{**headers, **more})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
