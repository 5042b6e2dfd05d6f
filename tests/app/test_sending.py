from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from running import Running, numbers, project

from mulgil.app.project_lock import ProjectLock
from mulgil.app.sending import HttpSender, StreamSender, sender_for
from mulgil.clock import TurnedClock
from mulgil.errors import Invalid, Missing, Retry


def test_events_go_to_the_server_where_one_runs_and_into_the_stream_where_none_does(folder: Path) -> None:
    settings = project(folder)
    quiet = sender_for("web", None, "", folder)
    assert isinstance(quiet, StreamSender)
    assert quiet.send(b'{"n":1}\n{"n":2}') == 2
    with pytest.raises(Invalid, match="line 1"):
        quiet.send(b"no")
    quiet.close()
    with Running(settings):
        loud = sender_for("web", None, "", folder)
        assert isinstance(loud, HttpSender)
        assert loud.send(b'{"n":3}') == 1
        loud.close()
    assert numbers(settings, "bronze.web") == [1, 2, 3]


def test_a_source_that_takes_no_events_is_missing(folder: Path) -> None:
    project(folder)
    for name in ("nobody", "logs"):
        with pytest.raises(Missing, match=name):
            sender_for(name, None, "", folder)


def test_a_stream_that_cannot_be_opened_leaves_the_project_free(folder: Path) -> None:
    settings = project(folder)
    (folder / "stream").mkdir()
    (folder / "stream" / "web").write_text("in the way")
    with pytest.raises(Exception, match=r"stream|folder"):
        sender_for("web", None, "", folder)
    ProjectLock(settings.state).release()


def test_answers_that_will_not_change_are_told_at_once(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        for name, body, error in (("web", b"no", Invalid), ("nobody", b"{}", Missing)):
            sender = HttpSender(running.service.url or "", name, "")
            with pytest.raises(error):
                sender.send(body)
            sender.close()


class Unsteady:
    """A server that answers 503 with this header for some times, then takes the request."""

    def __init__(self, times: int, header: str) -> None:
        self.requests: list[bytes] = []
        self._answers = [f"HTTP/1.1 503 X\r\n{header}Content-Length: 0\r\n\r\n".encode()] * times
        self._answers.append(b'HTTP/1.1 202 X\r\nContent-Length: 14\r\n\r\n{"accepted":1}')
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._socket:
            connection, _ = self._socket.accept()
            with connection:
                for answer in self._answers:
                    request = b""
                    while not request.endswith(b"{}"):
                        request += connection.recv(65536)
                    self.requests.append(request)
                    connection.sendall(answer)

    def end(self) -> None:
        self._thread.join(timeout=10)


@pytest.mark.parametrize("header", ["", "Retry-After: 2\r\n", "Retry-After: Sun, 22 Nov 2026 10:00:00 GMT\r\n"])
def test_a_server_that_is_busy_is_asked_again_with_the_same_key(header: str) -> None:
    server = Unsteady(3, header)
    sender = HttpSender(server.url, "web", "", TurnedClock())
    assert sender.send(b"{}") == 1
    sender.close()
    server.end()
    keys = {line for one in server.requests for line in one.split(b"\r\n") if line.startswith(b"idempotency-key")}
    assert len(server.requests) == 4
    assert len(keys) == 1


def test_a_server_that_does_not_answer_is_a_retry_in_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sender = HttpSender(f"http://user:secret@127.0.0.1:{port}/", "web", "", TurnedClock())
    with pytest.raises(Retry) as failed:
        sender.send(b"{}")
    assert "secret" not in str(failed.value)
    with pytest.raises(Invalid):
        HttpSender("lake.example.com", "web", "")


def test_a_project_with_a_certificate_of_its_own_takes_what_is_sent(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=lake.example.com"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    settings = project(folder, more="tls: {cert: cert.pem, key: key.pem}\n")
    with Running(settings):
        sender = sender_for("web", None, "", folder)
        assert sender.send(b'{"n":1}') == 1
        sender.close()
    assert numbers(settings, "bronze.web") == [1]
