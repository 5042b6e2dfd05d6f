"""The door on a socket: granian (a Rust HTTP server) in this process, driven by asyncio."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server as Granian

from mulgil.errors import Invalid
from mulgil.sources.collector.door import Door
from mulgil.sources.collector.settings import CollectorSettings


class Server:
    """Serves a door in a thread of its own until it is stopped."""

    def __init__(self, door: Door, settings: CollectorSettings) -> None:
        """Raises `Invalid` when the address is taken or the certificate cannot be read."""
        self._settings = settings
        self._refuse_taken_address()
        for path in (settings.certificate, settings.private_key):
            if path is not None and not path.is_file():
                raise Invalid(f"there is no file {path}", where="tls", hint="name PEM files in tls: cert and key")
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
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "http" if self._settings.certificate is None else "https"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self._settings.port}"

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way and stop listening."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._granian.stop)
            self._thread.join(timeout=10)

    def _run(self) -> None:
        async def serve() -> Any:
            self._loop = asyncio.get_running_loop()
            await self._granian.serve()

        asyncio.run(serve())

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
