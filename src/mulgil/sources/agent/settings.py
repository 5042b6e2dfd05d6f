"""What a user may say about an agent: where it ships to, and which files."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mulgil.errors import Invalid
from mulgil.schema import Format
from mulgil.sources.files import FilesSettings

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class AgentFlow:
    """Some files that go to one source of the server."""

    source: str
    """The source's name at the server."""
    files: FilesSettings
    """Which files; `files.name` is the flow's own name, under which its positions are kept: it must not change."""
    format: Format | None = None
    """The format that is declared to the server; None: the server's source knows it."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent. Raises `Invalid` on values that cannot be."""

    server: str
    """The server's address: http://host:port or https://host:port."""
    flows: tuple[AgentFlow, ...]
    """What is shipped; names of flows are unique."""
    state: str
    """File of the agent's positions (SQLite), on a disk that outlives a reboot. It holds which file is which; how far
    each was taken in, the server knows."""
    key: str = ""
    """API key with the grant to write to the sources; empty where the server asks for none."""
    host: str = ""
    """This host's name, as the server shows it; empty: what the system says."""
    batch_bytes: int = MIB
    """About this much goes into one request."""
    compress: bool = True
    """Whether bodies are compressed by zstd."""
    tls_ca_file: str = ""
    """PEM file with the authority that signed the server's certificate; empty: those of the system."""
    timeout_s: float = 30.0
    """A request without an answer for this long is sent again."""
    poll_interval_s: float = 0.1
    """How long to wait when there was nothing to ship."""
    retry_s_max: float = 30.0
    """Failed requests are tried again for ever, at most this far apart."""

    def __post_init__(self) -> None:
        address = urlsplit(self.server)
        if address.scheme not in ("http", "https") or not address.hostname:
            hint = "such as https://lake.example.com:7410 or http://127.0.0.1:7410"
            raise Invalid(f"{self.server!r} is not a server's URL", hint=hint)
        if not self.flows:
            raise Invalid("there is nothing to ship", where="flows", hint="name at least one source and its files")
        names = [flow.files.name for flow in self.flows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise Invalid(f"two flows are called {twice[0]!r}", where="flows", hint="give each a name of its own")
        if self.batch_bytes < 1 or self.timeout_s <= 0 or self.poll_interval_s < 0 or self.retry_s_max <= 0:
            raise Invalid("batch_bytes, timeout_s and retry_s_max must be positive", where="agent")
