"""One keep-alive connection to the server: requests out, answers or errors in. Used by `ship`.

Raises `Overloaded` (429, 503), `Retry` (no answer, 5xx, 408), `Missing` (404), `Invalid` (other 4xx).
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from mulgil.errors import Invalid, Missing, Overloaded, Retry
from mulgil.sources.agent.settings import AgentSettings


class Client:
    """A connection that is opened when it is needed and after every failure."""

    def __init__(self, settings: AgentSettings) -> None:
        address = urlsplit(settings.server)
        self._server = settings.server
        self._base = address.path.rstrip("/")
        self._host = address.hostname or ""
        self._port = address.port
        self._timeout_s = settings.timeout_s
        self._key = settings.key
        self._tls: ssl.SSLContext | None = None
        if address.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=settings.tls_ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise Invalid(
                    f"the authority's file cannot be used: {getattr(error, 'strerror', None) or error}",
                    where=settings.tls_ca_file,
                    hint="a PEM file with certificates",
                ) from error
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, int]:
        """Status (202, 200 or 409) and the `offset` of the answer."""
        status, text, after = self._exchange(method, path, headers, body)
        if status in (200, 202, 409):
            try:
                offset = json.loads(text)["offset"]
            except (ValueError, KeyError, TypeError) as error:
                raise Retry(f"answered {status} without an offset", where=self._server, hint="is it Mulgil?") from error
            if isinstance(offset, int) and offset >= 0:
                return status, offset
            raise Retry(f"answered with the offset {offset!r}", where=self._server, hint="is it Mulgil?")
        said, hint = _said(text)
        what = f"answered {status}: {said}"
        if status in (429, 503):
            raise Overloaded(what, where=self._server, hint=hint, after_s=after)
        if status >= 500 or status == 408:
            raise Retry(what, where=self._server, hint=hint, after_s=after)
        if status == 404:
            raise Missing(what, where=self._server, hint=hint or "is the source declared at the server?")
        if status == 401:
            hint = "MULGIL_KEY=… in the environment holds the key"
        raise Invalid(what, where=self._server, hint=hint or ("look at the key's grants" if status == 403 else ""))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes, float]:
        if self._connection is None:
            self._connection = (
                http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
                if self._tls is not None
                else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
            )
        said = dict(headers)
        if self._key:
            said["Authorization"] = f"Bearer {self._key}"
        try:
            self._connection.request(method, self._base + path, body=body or None, headers=said)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            hint = "is it running?"
            if isinstance(error, ssl.SSLCertVerificationError):
                hint = "--ca FILE names the authority that signed its certificate"
            elif isinstance(error, ssl.SSLError):
                hint = "does it speak TLS? If not: http://"
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or repr(error)
            raise Retry(f"cannot be reached: {why}", where=self._server, hint=hint, after_s=0) from error
        if answer.will_close:
            self.close()
        wait = answer.headers.get("Retry-After", "")
        return answer.status, text, float(wait) if wait.isdigit() else 0.0


def _said(text: bytes) -> tuple[str, str]:
    """What a server answered, and its hint; of somebody else's server, the text as it is."""
    try:
        told = json.loads(text)
        return str(told["error"]), str(told.get("hint", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return text[:300].decode("utf-8", "replace"), ""
