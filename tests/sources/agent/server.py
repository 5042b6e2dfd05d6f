"""A server that keeps to the agent's protocol, small enough to be read; it can be made to fail in every way."""

from __future__ import annotations

import base64
import json
import random
import socket
import struct
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import zstandard

from mulgil.record import Records


class Server:
    """Keeps what was sent in memory. `faults`: how often, 0 to 1, a request meets a failure."""

    def __init__(self, seed: int = 0, faults: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.lines: dict[str, list[bytes]] = defaultdict(list)
        self.offsets: dict[tuple[str, str], int] = {}
        self.unreadable = 0
        self.requests: list[dict[str, str]] = []
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.before_taking: Callable[[str], None] = lambda generation: None
        self.lock = threading.Lock()
        self._start(0)

    def _start(self, port: int) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.handle(self, b"")

            def do_POST(self) -> None:
                server.handle(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            connections: set[socket.socket]

            def handle_error(self, *_: Any) -> None:
                pass

            def process_request(self, request: Any, client_address: Any) -> None:
                server.connections.add(request)
                super().process_request(request, client_address)

        self.connections: set[socket.socket] = set()
        self._http = Quiet(("127.0.0.1", port), Handler)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        for one in self.connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        self.stop()
        self._start(self.port)

    def handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        fault = self.random.random() < self.faults and self.random.choice(["503", "500", "reset", "drop", "429"])
        if fault == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True
            return
        if fault in ("503", "500", "429"):
            self._answer(request, int(fault), {}, {"error": "made up"})
            return
        if self.refuse is not None:
            self._answer(request, self.refuse[0], self.refuse[1], {"error": "refused"})
            return
        with self.lock:
            status, answer = self._take(request, body)
        if fault == "drop":  # stored, but nobody hears of it
            request.close_connection = True
            return
        self._answer(request, status, {}, answer)

    def _take(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, int]]:
        address = urlsplit(request.path)
        _, version, source, agent = address.path.split("/")
        assert (version, agent) == ("v1", "agent")
        if request.command == "GET":
            return 200, {"offset": self.offsets.get((source, parse_qs(address.query)["generation"][0]), 0)}
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(headers)
        if headers.get("content-encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
        assert len(body) == int(headers["mulgil-length"])
        assert zlib.crc32(body) == int(headers["mulgil-crc32"], 16)
        assert headers["mulgil-host"]
        key = (source, headers["mulgil-generation"])
        self.before_taking(headers["mulgil-generation"])
        have = self.offsets.get(key, 0)
        offset, unreadable = int(headers["mulgil-offset"]), int(headers.get("mulgil-unreadable", "0"))
        end = offset + len(body)
        if have and offset - unreadable > have:
            return 409, {"offset": have}
        if end <= have:
            return 202, {"offset": have}
        if "mulgil-starts" in headers:
            assert have <= offset
            deltas = np.frombuffer(base64.b64decode(headers["mulgil-starts"]), "<u4").astype(np.int64)
            ends = np.append(np.cumsum(deltas)[1:], len(body))
            self.lines[source] += [body[s:e].rstrip(b"\n") for s, e in zip(np.cumsum(deltas), ends, strict=True)]
        else:
            records = Records.of_lines(body[max(0, have - offset) :])
            self.lines[source] += [records[index] for index in range(len(records))]
        if have <= offset:
            self.unreadable += unreadable
        self.offsets[key] = end
        return 202, {"offset": end}

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text)
