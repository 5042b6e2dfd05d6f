"""The door's rules: who may post what where, and what the answer says. One method a route; RSGI in, RSGI out.

An answer of 202 is given after the stream has said that the records are on the disk, and not before.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from mulgil.clock import Clock
from mulgil.errors import Broken, Conflict, Invalid, Missing, MulgilError, Overloaded, Retry
from mulgil.sources.collector.body import Body, TooLarge, UnknownEncoding, decompressed, read_events
from mulgil.sources.collector.incoming import Incoming
from mulgil.sources.collector.measurement import read_measurement
from mulgil.sources.collector.receipts import Receipts, checked_generation, read_shipment
from mulgil.sources.collector.settings import CollectorSettings, EndpointSettings
from mulgil.stream import Answer, Appended, Done, Stream
from mulgil.telemetry import Log, Metrics

KeyCheck = Callable[[str, str], bool]
"""Whether an API key (as sent) has a grant, such as `write:web`. An empty key asks whether nobody needs one."""

KEY_CHARACTERS_MAX = 1024
HELD_BYTES_MAX = 256 * 2**20
"""So much of bodies that are not durable yet may be in memory, as they were sent."""
JSON = ("content-type", "application/json")

STATUS = {
    Missing: 404,
    TooLarge: 413,
    UnknownEncoding: 415,
    Invalid: 400,
    Conflict: 409,
    Overloaded: 429,
    Retry: 503,
    Broken: 503,
}
"""Our errors as HTTP statuses; the first that fits."""


class Refused(Invalid):
    """A request that is turned away for who sent it or how, with its HTTP status."""

    def __init__(self, status: int, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.status = status


class Door:
    """The HTTP application."""

    def __init__(
        self,
        settings: CollectorSettings,
        endpoints: Sequence[EndpointSettings],
        streams: Mapping[str, Stream],
        *,
        key_check: KeyCheck,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        receipts: Receipts,
        health: Callable[[], dict[str, Any]],
        appended: Callable[[str], None] = lambda source: None,
        refuse: Callable[[str], MulgilError | None] = lambda source: None,
    ) -> None:
        """`health` tells the state of the whole process; `appended` is told of a source's new records; `refuse` may
        name a reason why a source takes nothing at present (its lag, the disk)."""
        self._settings = settings
        self._endpoints = {one.name: one for one in endpoints}
        self._streams = streams
        self._key_check = key_check
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._receipts = receipts
        self._health = health
        self._appended = appended
        self._refuse = refuse
        self._turn = count()
        self._held = 0
        self._notify: Callable[[Sequence[tuple[Done, Answer]]], None] | None = None

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """One request."""
        if scope.proto != "http":
            proto.close()
            return
        source = ""
        cors: list[tuple[str, str]] = []
        incoming = Incoming(scope, proto)
        try:
            path = scope.path
            if path.startswith("/v1/") or path == "/mp/collect":
                endpoint, act = self._route(path)
                source = endpoint.name
                cors = self._cors(endpoint, scope)
                status, body = await self._endpoint(endpoint, act, scope, incoming, cors)
            elif path == "/healthz":
                health = self._health()
                status, body = 200 if health["status"] == "ok" else 503, json.dumps(health).encode()
            elif path == "/metrics":
                self._may(scope, {}, "read:metrics")
                proto.response_bytes(200, [("content-type", "text/plain; version=0.0.4")], self._metrics.exposition())
                return
            else:
                raise Missing(f"there is nothing at {path}", hint="post events to /v1/<source>")
        except MulgilError as error:
            status = error.status if isinstance(error, Refused) else _status_of(error)
            body = _error_body(error)
            if isinstance(error, Overloaded | Retry):
                cors = [*cors, ("retry-after", str(max(1, round(error.after_s))))]
            if isinstance(error, Broken):
                self._log.error("request_failed", source=source, error=str(error))
        except Exception as error:  # noqa: BLE001 (the HTTP edge: a fault of ours must not leave a client waiting)
            status, body = 500, _error_body(Broken("a fault of mulgil", hint="its log has the trace"))
            trace = "".join(traceback.format_exception(error))
            self._log.error("request_failed", source=source, error=str(error), trace=trace)
        if status >= 400:
            await incoming.drop()
        self._metrics.count("mulgil_http_requests_total", 1, source, str(status))
        proto.response_bytes(status, [JSON, *cors], body)

    def _route(self, path: str) -> tuple[EndpointSettings, str]:
        if path == "/mp/collect":
            for endpoint in self._endpoints.values():
                if endpoint.measurement_protocol:
                    return endpoint, "measurement"
            raise Missing("no source takes Measurement Protocol bodies", hint="set ga4_collect: true on one")
        name, _, rest = path.removeprefix("/v1/").partition("/")
        endpoint_found = self._endpoints.get(name)
        if endpoint_found is None or rest not in ("", "agent"):
            known = ", ".join(sorted(self._endpoints)) or "none"
            raise Missing(f"there is no source at {path}", hint=f"sources that take requests: {known}")
        if (rest == "agent") != (endpoint_found.takes == "files"):
            wanted = f"/v1/{name}/agent, from `mulgil agent`" if endpoint_found.takes == "files" else f"/v1/{name}"
            raise Missing(f"source {name} takes nothing at {path}", hint=f"it takes {wanted}")
        return endpoint_found, "agent" if rest else "events"

    async def _endpoint(
        self, endpoint: EndpointSettings, act: str, scope: Any, incoming: Incoming, cors: list[tuple[str, str]]
    ) -> tuple[int, bytes]:
        if scope.method == "OPTIONS":
            if cors:
                cors.append(("access-control-allow-credentials", "true"))  # beacons ask for it; we set no cookies
            cors += [
                ("access-control-allow-methods", "POST"),
                ("access-control-allow-headers", "content-type, content-encoding, idempotency-key, authorization"),
                ("access-control-max-age", "86400"),
            ]
            return 204, b""
        asked = parse_qs(scope.query_string) if scope.query_string else {}
        self._may(scope, asked, f"write:{endpoint.name}")
        if act == "agent" and scope.method == "GET":
            generation = checked_generation(asked.get("generation", [""])[0])
            return 200, json.dumps({"offset": self._receipts.offset(endpoint.name, generation)}).encode()
        if scope.method != "POST":
            raise Refused(405, f"{scope.method} is not for this address", hint="POST")
        if (reason := self._refuse(endpoint.name)) is not None:
            raise reason
        with self._room(scope):
            return await self._take(endpoint, act, scope, incoming, asked)

    async def _take(
        self, endpoint: EndpointSettings, act: str, scope: Any, incoming: Incoming, asked: dict[str, list[str]]
    ) -> tuple[int, bytes]:
        data = await self._read(scope, incoming)
        if act == "agent":
            return await self._take_files(endpoint, scope, data)
        if act == "measurement":
            body = read_measurement(data, asked.get("measurement_id", [""])[0], self._clock.now_us())
        else:
            body = read_events(data)
        answer = await self._append(endpoint.name, body, scope, asked)
        if act == "measurement":
            return 204, b""
        return 202, b'{"accepted":%d,"shard":%d,"first":%d}' % (answer.count, answer.shard, answer.first)

    async def _append(self, source: str, body: Body, scope: Any, asked: Mapping[str, list[str]]) -> Appended:
        key = scope.headers.get("idempotency-key") or ""
        if not key and "idempotency-key" in scope.headers:
            raise Invalid("the Idempotency-Key is empty or not ASCII", hint="such as a UUID")
        if len(key) > KEY_CHARACTERS_MAX:
            raise Invalid(f"the Idempotency-Key has {len(key)} characters", hint=f"at most {KEY_CHARACTERS_MAX}")
        stream = self._streams[source]
        if partition_key := asked.get("partition_key", [""])[0] or key:
            shard = stream.shard_for(partition_key)
        else:
            shard = next(self._turn) % len(stream.ends())
        return await self._durable(source, stream, body.payload, body.count, shard=shard, key=key)

    async def _take_files(self, endpoint: EndpointSettings, scope: Any, data: bytes) -> tuple[int, bytes]:
        shipment = read_shipment(scope.headers, data)
        source, generation = endpoint.name, shipment.generation
        async with self._receipts.turn(source, generation):
            have = self._receipts.offset(source, generation)
            if have and shipment.offset - shipment.unreadable > have:
                return 409, json.dumps({"offset": have}).encode()
            rest = shipment.after(have)
            if not rest.count and rest.unreadable and rest.offset > have:
                rest = rest.as_notice()
            if rest.count:
                stream = self._streams[source]
                shard = stream.shard_for(generation)
                await self._durable(source, stream, rest.payload, rest.count, shard=shard, meta=rest.meta())
            if rest.offset + rest.length > have:
                self._receipts.advance(source, generation, rest.offset + rest.length)
            return 202, json.dumps({"offset": self._receipts.offset(source, generation)}).encode()

    async def _durable(
        self, source: str, stream: Stream, payload: bytes, records: int, *, shard: int, key: str = "", meta: bytes = b""
    ) -> Appended:
        """Wait until the records are on the disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def done(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        try:
            stream.append(payload, records, shard=shard, key=key, meta=meta, done=done, notify=self._notifier(loop))
            answer = await asyncio.shield(future)
            if isinstance(answer, MulgilError):
                raise answer
        except Overloaded as error:  # the disk: the client has done nothing too often
            raise Retry(error.what, hint=error.hint, after_s=error.after_s) from error
        self._metrics.count("mulgil_http_accepted_records_total", records, source)
        self._metrics.count("mulgil_http_accepted_bytes_total", len(payload), source)
        self._appended(source)
        return answer

    def _notifier(self, loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[tuple[Done, Answer]]], None]:
        """One object for the whole life of the loop, so that the stream wakes it once for a group."""
        if self._notify is None:

            def notify(answers: Sequence[tuple[Done, Answer]]) -> None:
                loop.call_soon_threadsafe(_answer_all, answers)

            self._notify = notify
        return self._notify

    @contextmanager
    def _room(self, scope: Any) -> Iterator[None]:
        """Memory for a body until its records are durable. Raises `Overloaded` when too many are held already."""
        declared = scope.headers.get("content-length") or ""
        limit = self._settings.body_bytes_max
        size = min(int(declared), limit) if declared.isdecimal() else limit
        if self._held and self._held + size > HELD_BYTES_MAX:
            raise Overloaded("too many bodies are being read at once", hint="send again later", after_s=1)
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def _read(self, scope: Any, incoming: Incoming) -> bytes:
        """The whole body, decompressed; never more than is allowed."""
        limit = self._settings.body_bytes_max
        data = await incoming.read(limit)
        encoding = scope.headers.get("content-encoding")
        if encoding:
            data = decompressed(data, encoding, limit)
        return data

    def _may(self, scope: Any, asked: Mapping[str, list[str]], grant: str) -> None:
        """Check the API key: `Authorization: Bearer`, or `?key=`, `?api_secret=` for beacons, which have no headers."""
        said = scope.headers.get("authorization") or ""
        key = said[7:].strip() if said[:7].lower() == "bearer " else ""
        key = key or asked.get("key", [""])[0] or asked.get("api_secret", [""])[0]
        if not self._key_check(key, grant):
            if not key:
                raise Refused(
                    401, "an API key is needed", hint="Authorization: Bearer <key>; `mulgil key create` makes one"
                )
            raise Refused(
                403, f"this API key is not known, or has no grant {grant}", hint=f"mulgil key create --grant {grant}"
            )

    def _cors(self, endpoint: EndpointSettings, scope: Any) -> list[tuple[str, str]]:
        """A page of another origin may post only where the source says so, whatever the browser would let through."""
        origin = scope.headers.get("origin")
        if not origin:
            return []
        if "*" in endpoint.cors or origin in endpoint.cors:
            return [("access-control-allow-origin", origin), ("vary", "origin")]
        raise Refused(403, f"pages of {origin} may not post here", hint=f"add it to cors of source {endpoint.name}")


def _answer_all(answers: Sequence[tuple[Done, Answer]]) -> None:
    for done, answer in answers:
        done(answer)


def _status_of(error: MulgilError) -> int:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def _error_body(error: MulgilError) -> bytes:
    return json.dumps({"error": error.what, **({"hint": error.hint} if error.hint else {})}).encode()
