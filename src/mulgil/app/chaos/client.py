"""A client that posts events and takes nothing for granted: what is not answered is sent again, where that is safe."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from dataclasses import dataclass
from random import Random

import zstandard

from mulgil.app.chaos.books import Books, record_of
from mulgil.clock import Clock

TIMEOUT_S = 1.0
PAUSE_S = 0.01
EVENTS_MAX = 20
KINDS = ("id", "id", "id", "key", "key", "key", "both", "bare", "bad", "again", "again", "again")
"""Events with ids, under a key, both or neither; a body that is no JSON; and an earlier request once more."""
NEVER = 1 << 40
"""Numbers from here on are in bodies that must be refused."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted, once or several times."""

    numbers: range
    body: bytes
    headers: dict[str, str]
    safe: bool
    """Whether sending it again cannot double anything: its events have ids, or it has a key."""
    bad: bool = False


class Gate:
    """Lets clients send, or holds them back; tells when none has an answer outstanding."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._open = True
        self._inside = 0

    def __enter__(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._open)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def shut(self) -> None:
        """Wait until everybody is outside, and keep them there."""
        with self._condition:
            self._open = False
            self._condition.wait_for(lambda: not self._inside)

    def open(self) -> None:
        """Let them in again."""
        with self._condition:
            self._open = True
            self._condition.notify_all()


class Client(threading.Thread):
    """Posts to one source until it is told to stop."""

    def __init__(self, port: int, number: int, random: Random, books: Books, gate: Gate, clock: Clock) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.answers: dict[int, int] = {}
        """HTTP status to how often; 0: no answer"""
        self.ends: dict[int, int] = {}
        """Shard to the sequence number behind the last acknowledged record."""
        self.wrong: list[str] = []
        """Answers that should not have been given."""
        self._port = port
        self._next = number * 1_000_000_000
        self._never = NEVER + number * 1_000_000_000
        self._random = random
        self._books = books
        self._gate = gate
        self._clock = clock
        self._stopping = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._kept: list[Request] = []

    def stop(self) -> None:
        """Finish the request under way, and end; what was never answered stays open."""
        self._stopping.set()

    def run(self) -> None:
        """The thread."""
        while not self._stopping.is_set():
            self._post(self._draw())
            self._clock.wait(self._stopping, self._random.choice((0.0, 0.0, 0.01)))
        if self._connection is not None:
            self._connection.close()

    def _draw(self) -> Request:
        random = self._random
        kind = random.choice(KINDS)
        if kind == "again" and self._kept:
            return random.choice(self._kept)
        first = self._never if kind == "bad" else self._next
        numbers = range(first, first + random.randint(1, EVENTS_MAX))
        if kind == "bad":
            self._never = numbers.stop
        else:
            self._next = numbers.stop
        events = [json.dumps(record_of(one, event_id=kind in ("id", "both"))) for one in numbers]
        if kind == "bad":
            events[random.randrange(len(events))] = random.choice(('{"n": ', "17", '{"n": 1} {"n": 2}', '"text"'))
        headers = {}
        body = "\n".join(events).encode()
        if random.random() < 0.3:
            body = f"[{','.join(events)}]".encode()
        if random.random() < 0.2:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        elif random.random() < 0.2:
            body, headers["Content-Encoding"] = zstandard.compress(body), "zstd"
        if kind in ("key", "both"):
            headers["Idempotency-Key"] = f"key-{first}"
        request = Request(numbers, body, headers, safe=kind in ("id", "key", "both"), bad=kind == "bad")
        if request.safe:
            self._kept = [*self._kept[-20:], request]
        return request

    def _post(self, request: Request) -> None:
        """Send it until it is known whether it is kept, or must not be sent again."""
        if not request.bad:
            self._books.sent(request.numbers)
        doubtful = False
        while not self._stopping.is_set():
            with self._gate:
                status, answer = self._send(request)
                self.answers[status] = self.answers.get(status, 0) + 1
                if status == 202 and not request.bad:
                    self._books.acknowledged(request.numbers)
                    self._note(request, answer)
                    return
            if request.bad and status == 400:
                return
            if status not in (-1, 0, 429, 503):
                self.wrong.append(f"{status} for {'bad' if request.bad else 'good'} body: {answer[:200]!r}")
                return
            # After 503 the records may be on the disk and come to light with a crash, or not at all.
            doubtful = doubtful or status in (0, 503)
            if doubtful and not request.safe:
                return
            self._clock.wait(self._stopping, PAUSE_S)
        if not doubtful and request not in self._kept:
            self._books.refused(request.numbers)

    def _send(self, request: Request) -> tuple[int, bytes]:
        """One try: status and answer; -1 where nothing was sent, 0 where the answer is missing."""
        if self._connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
            try:
                connection.connect()
            except OSError:
                return -1, b""
            self._connection = connection
        try:
            self._connection.request("POST", "/v1/web", request.body, request.headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            return 0, b""
        return response.status, answer

    def _note(self, request: Request, answer: bytes) -> None:
        said = json.loads(answer)
        if said["accepted"] != len(request.numbers):
            self.wrong.append(f"{len(request.numbers)} records were sent, {said['accepted']} are said to be accepted")
        self.ends[said["shard"]] = max(self.ends.get(said["shard"], 0), said["first"] + said["accepted"])
