"""What a user tunes of the HTTP door."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EndpointSettings:
    """One source behind the door."""

    name: str
    """The last part of `POST /v1/<name>`."""
    takes: str = "events"
    """`events`: JSON by anybody; `files`: bytes by `mulgil agent`."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may post from a browser; `*`: any."""
    measurement_protocol: bool = False
    """Whether Google Analytics 4 bodies posted to `/mp/collect` land here."""


@dataclass(frozen=True)
class CollectorSettings:
    """The door itself."""

    host: str = "127.0.0.1"
    """Address to listen on. One that is not loopback needs API keys."""
    port: int = 7410
    """TCP port."""
    certificate: Path | None = None
    """PEM file of the TLS certificate (chain); None: plain HTTP."""
    private_key: Path | None = None
    """PEM file of the certificate's private key."""
    body_bytes_max: int = 16 * 2**20
    """Largest request body, before and after decompression; larger ones are answered 413."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
