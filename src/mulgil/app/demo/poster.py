"""Posts events as a site's pages do: small batches over HTTP with an Idempotency-Key, again until acknowledged.

Called by `traffic.py`, which hands batches in; a few threads with a connection each carry them to the door.
"""

from __future__ import annotations

import http.client
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mulgil.clock import Clock
from mulgil.errors import Invalid

CONNECTIONS = 3
WAITING_MAX = 2_000
"""Batches that may wait before `post` blocks."""
AGAIN_S = 0.1
TIMEOUT_S = 10.0
TWICE_EVERY = 40
"""Each so-manyth batch is sent twice, as if its answer had been lost."""


@dataclass
class Posted:
    """What came of it so far; in events."""

    sent: int = 0
    """Handed in, each counted once however often it went over the wire."""
    acknowledged: int = 0
    copies: int = 0
    """Of those acknowledged: events of another batch once more, by the site's own doing."""
    sent_twice: int = 0
    """Events in batches that were sent again although they had been acknowledged."""
    retried: int = 0
    """Events in batches that were sent again because no answer came."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One request."""

    key: str
    body: bytes
    count: int
    copies: int
    twice: bool


class Poster:
    """A few connections to one address."""

    def __init__(self, host: str, port: int, source: str, run: str, clock: Clock) -> None:
        """`run` begins every key."""
        self._address = (host, port)
        self._path = f"/v1/{source}"
        self._run = run
        self._clock = clock
        self._batches: queue.Queue[Batch] = queue.Queue(WAITING_MAX)
        self._count = 0
        self._posted = Posted()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self.refused: Invalid | None = None
        """What the door said to a request that it will never take; nothing is sent from then on."""
        self._threads = [
            threading.Thread(target=self._carry, name=f"post-{n}", daemon=True) for n in range(CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    def post(self, events: Sequence[str], copies: int) -> None:
        """Hand in a batch; blocks while too many wait, returns at once when this is closed."""
        self._count += 1
        twice = self._count % TWICE_EVERY == 5
        batch = Batch(f"{self._run}-{self._count}", "\n".join(events).encode(), len(events), copies, twice)
        with self._guard:
            self._posted.sent += len(events)
        while not self._stop.is_set():
            try:
                self._batches.put(batch, timeout=0.1)
            except queue.Full:
                continue
            return

    def posted(self) -> Posted:
        """The counts now."""
        with self._guard:
            return replace(self._posted)

    def close(self) -> None:
        """Stop; what was not acknowledged stays so."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _carry(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        while not self._stop.is_set():
            try:
                batch = self._batches.get(timeout=0.1)
            except queue.Empty:
                continue
            self._until_acknowledged(connection, batch)
        connection.close()

    def _until_acknowledged(self, connection: http.client.HTTPConnection, batch: Batch) -> None:
        headers = {"content-type": "application/x-ndjson", "idempotency-key": batch.key}
        acknowledged = retried = False
        while not self._stop.is_set():
            try:
                connection.request("POST", self._path, batch.body, headers)
                response = connection.getresponse()
                said, status = response.read(), response.status
            except (OSError, http.client.HTTPException):  # nobody there, or gone in the middle of it
                connection.close()
                said, status = b"", 0
            if status == 202:
                with self._guard:
                    if acknowledged:
                        self._posted.sent_twice += batch.count
                    else:
                        self._posted.acknowledged += batch.count
                        self._posted.copies += batch.copies
                if acknowledged or not batch.twice:
                    return
                acknowledged = True
            elif status in (0, 429, 502, 503, 504):
                with self._guard:
                    self._posted.retried += 0 if retried else batch.count
                retried = True
                self._clock.wait(self._stop, AGAIN_S)
            else:
                self.refused = Invalid(f"the door answered {status}: {said.decode(errors='replace')}", where=self._path)
                self._stop.set()
