"""Ways for `mulgil send` to get events acknowledged: over HTTP to a server, or straight into the stream without one."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from mulgil import delivery
from mulgil.app.project_lock import ProjectLock
from mulgil.app.settings import HttpSourceSettings, ProjectSettings, load_project
from mulgil.app.wiring import open_lake, open_stream
from mulgil.clock import Clock, SystemClock
from mulgil.errors import Conflict, Invalid, Missing, MulgilError, Retry
from mulgil.sources import StreamSource
from mulgil.sources.collector import read_events
from mulgil.stream import Answer

TIMEOUT_S = 30.0
TRIES = 8
RETRY_AFTER_S_MAX = 60.0


class Sender(Protocol):
    """Takes batches of events. What is sent again under the same `run`, at the same place, is taken once."""

    where: str

    def send(self, batch: bytes) -> int:
        """How many events are acknowledged, which means durable. Raises `Invalid`, or `Retry` after many tries."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


def sender_for(
    source: str,
    url: str | None,
    key: str,
    project: Path | None,
    tell: Callable[[str], None] | None = None,
    run: str = "",
) -> Sender:
    """The way that works here and now; `tell` hears why a batch is sent again, `run` sets this sending apart from
    others with the same content.

    Raises `Missing` for a source that is not declared.
    """
    if url is not None:
        return HttpSender(url, source, key, tell=tell, run=run)
    settings = load_project(project)
    declared = settings.sources.get(source)
    if not isinstance(declared, HttpSourceSettings):
        known = ", ".join(name for name, one in settings.sources.items() if one.type == "http") or "none"
        raise Missing(f"there is no http source {source}", where=str(settings.file), hint=f"http sources: {known}")
    try:
        return StreamSender(settings, source, declared, run)
    except Conflict:  # somebody runs the project: then there is a server
        if settings.tls is None:
            return HttpSender(f"http://{settings.listen}", source, key, tell=tell, run=run)
        context = _own_server(settings.tls.cert)
        return HttpSender(f"https://{settings.listen}", source, key, context=context, tell=tell, run=run)


class HttpSender:
    """To a server. A batch has a key made from its place and content, so that a lost answer doubles nothing."""

    def __init__(
        self,
        url: str,
        source: str,
        key: str,
        clock: Clock | None = None,
        context: ssl.SSLContext | None = None,
        tell: Callable[[str], None] | None = None,
        run: str = "",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_good_port(url):
            raise Invalid(
                f"{url!r} is not a server's URL", hint="such as https://lake.example.com or http://127.0.0.1:7410"
            )
        self.where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        if parts.path.rstrip("/").endswith(f"/v1/{source}"):
            raise Invalid(f"{parts.path} is added to the URL anyway", hint=f"--url {self.where}")
        self._path = f"{parts.path.rstrip('/')}/v1/{source}"
        self._key = key
        self._clock = clock or SystemClock()
        self._tell = tell
        self._run = run
        self._number = 0
        self._connection = (
            http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=TIMEOUT_S, context=context or ssl.create_default_context()
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        )

    def send(self, batch: bytes) -> int:
        key = _key_of(self._run, self._number, batch)
        headers = {"content-type": "application/x-ndjson", "idempotency-key": key}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._number += 1
        error: MulgilError = Retry("no answer", where=self.where)
        for attempt in range(TRIES):
            pause_s = min(10.0, 0.2 * 2**attempt)
            try:
                response, body = self._ask(batch, headers)
            except ssl.SSLError as refused:
                self._connection.close()
                what = f"no TLS with the server: {refused.reason or refused}"
                raise Invalid(what, where=self.where, hint=_tls_hint(refused)) from refused
            except (OSError, http.client.HTTPException) as lost:
                self._connection.close()
                why = getattr(lost, "strerror", None) or str(lost)
                error = Retry(f"cannot reach the server: {why}", where=self.where, hint="is `mulgil run` running?")
            else:
                if response.status == 202:
                    return int(json.loads(body)["accepted"])
                error = _error_of(response.status, body, self.where)
                if response.status not in (429, 502, 503, 504):
                    raise error
                asked_s = response.headers.get("retry-after") or ""
                pause_s = min(RETRY_AFTER_S_MAX, float(asked_s)) if asked_s.isdecimal() else pause_s  # or it is a date
            if self._tell is not None:
                self._tell(error.what)
            self._clock.wait(threading.Event(), pause_s)
        raise error

    def _ask(self, batch: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            self._connection.request("POST", self._path, batch, headers)
        except (BrokenPipeError, ConnectionResetError):
            if self._connection.sock is None:
                raise
            # a server that refuses a body does not read it to the end; its answer may be there all the same
        response = self._connection.getresponse()
        body = response.read()
        return response, body

    def close(self) -> None:
        self._connection.close()


class StreamSender:
    """Into the stream of a project that nobody runs at present."""

    def __init__(self, project: ProjectSettings, source: str, declared: HttpSourceSettings, run: str = "") -> None:
        """Raises `Conflict` when the project is running, `Broken` when its stream was lost."""
        with ExitStack() as undo:
            self._lock = ProjectLock(project.state)
            undo.callback(self._lock.release)
            self._lake = open_lake(project)
            undo.callback(self._lake.close)
            self._stream = open_stream(self._lake, source, declared)
            undo.callback(self._stream.close)
            reached = delivery.positions.load(self._lake.database, source)
            StreamSource(source, self._stream).resume(delivery.positions.marks(reached))
            undo.pop_all()
        self._run = run
        self._number = 0
        self.where = f"{project.stream.path / source} (`mulgil run` delivers them)"

    def send(self, batch: bytes) -> int:
        body = read_events(batch)
        answered = threading.Event()
        answers: list[Answer] = []

        def done(answer: Answer) -> None:
            answers.append(answer)
            answered.set()

        key = _key_of(self._run, self._number, batch)
        self._number += 1
        self._stream.append(body.payload, body.count, shard=self._stream.shard_for(key), key=key, done=done)
        answered.wait()
        if isinstance(answers[0], MulgilError):
            raise answers[0]
        return answers[0].count

    def close(self) -> None:
        self._stream.close()
        self._lake.close()
        self._lock.release()


def _own_server(certificate: Path) -> ssl.SSLContext:
    """Trust the certificate that our own project names, for whatever host it was made."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _has_good_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _tls_hint(refused: ssl.SSLError) -> str:
    if isinstance(refused, ssl.SSLCertVerificationError):
        return "SSL_CERT_FILE=cert.pem in the environment names a certificate to trust"
    return "does it speak TLS? If not: http://"


def _key_of(run: str, number: int, batch: bytes) -> str:
    return f"send-{run}{number}-{blake2b(batch, digest_size=16).hexdigest()}"


def _error_of(status: int, body: bytes, where: str) -> MulgilError:
    try:
        said = json.loads(body)
        what, hint = str(said["error"]), str(said.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        what, hint = f"the server answered {status}", ""
    if status == 401:
        hint = "MULGIL_KEY=… in the environment holds the key; `mulgil key create` makes one"
    if status in (400, 413):
        return Invalid(what, hint=hint)  # it is about what was sent
    kind = Missing if status == 404 else Retry if status in (429, 502, 503, 504) else Invalid
    return kind(what, where=where, hint=hint)
