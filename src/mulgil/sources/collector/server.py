"""The door on a socket: granian (a Rust HTTP server) in this process, driven by asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server as Granian

from mulgil.errors import Invalid
from mulgil.sources.collector.door import Door
from mulgil.sources.collector.settings import CollectorSettings

START_S_MAX = 10.0
STOP_S_MAX = 10.0
"""Requests that are not answered after so long are given up."""


class Server:
    """Serves a door in a thread of its own until it is stopped."""

    def __init__(self, door: Door, settings: CollectorSettings) -> None:
        """Raises `Invalid` when the address is taken or the certificate cannot be read."""
        self._settings = settings
        self._refuse_taken_address()
        self._refuse_bad_certificate()
        self._granian = Granian(
            door,
            address=settings.host,
            port=settings.port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1 if settings.certificate is None else HTTPModes.auto,
            websockets=False,
            backlog=1024,
            log_enabled=False,
            ssl_cert=settings.certificate,
            ssl_key=settings.private_key,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "http" if self._settings.certificate is None else "https"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self._settings.port}"

    def start(self) -> None:
        """Listen; on return clients can connect. Raises `Invalid` where that cannot be."""
        self._thread.start()
        self._running.wait(START_S_MAX)
        pause = threading.Event()
        for _ in range(int(START_S_MAX / 0.01)):
            if not self._thread.is_alive():
                break
            with (
                suppress(OSError),
                socket.create_connection((self._settings.host, self._settings.port), timeout=START_S_MAX),
            ):
                return
            pause.wait(0.01)
        raise Invalid(f"cannot listen on {self.url}: {self._failed or 'nobody answers'}", where="listen")

    def stop(self) -> None:
        """Finish the requests under way and stop listening. May be called in any state."""
        if self._thread.is_alive() and self._running.wait(START_S_MAX):
            assert self._loop is not None
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._granian.stop)
            self._thread.join(STOP_S_MAX)

    def _run(self) -> None:
        async def serve() -> Any:
            self._loop = asyncio.get_running_loop()
            self._running.set()
            await self._granian.serve()

        try:
            asyncio.run(serve())
        except (OSError, RuntimeError, ValueError) as error:
            self._failed = error
        finally:
            self._running.set()

    def _refuse_bad_certificate(self) -> None:
        certificate, key = self._settings.certificate, self._settings.private_key
        if certificate is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise Invalid(
                f"{certificate} and {key} are no certificate with its private key: {error.strerror or error}",
                where="tls",
                hint="name PEM files in tls: cert and key",
            ) from error

    def _refuse_taken_address(self) -> None:
        try:
            family = socket.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self._settings.host, self._settings.port))
        except OSError as error:
            raise Invalid(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror or error}",
                hint="is `mulgil run` running already? `listen:` in mulgil.yaml sets another address",
            ) from error
