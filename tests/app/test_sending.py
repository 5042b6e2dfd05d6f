from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from running import Running, numbers, project

from mulgil.app.project_lock import ProjectLock
from mulgil.app.sending import HttpSender, StreamSender, sender_for
from mulgil.clock import TurnedClock
from mulgil.errors import Broken, Invalid, Missing, Retry


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


def test_nothing_is_acknowledged_into_a_stream_that_was_lost(folder: Path) -> None:
    """Delivery would take the first events of the new one for those that it has."""
    settings = project(folder)
    with Running(settings) as running:
        running.post({"n": 1}, {"n": 2})
    shutil.rmtree(folder / "stream" / "web")
    with pytest.raises(Broken, match="2 records of the stream are in the lake"):
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


def send(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mulgil", "send", "web", *arguments],
        cwd=folder, input='{"n":9}', capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def test_files_are_sent_whole_however_they_are_packed(folder: Path) -> None:
    settings = project(folder)
    packs: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, zstandard.compress]
    for number, pack in enumerate(packs):
        parts = [pack(b'{"n":%d}\n' % (3 * number + one)) for one in range(3)]  # members, frames: one after the other
        (folder / f"f{number}{('', '.gz', '.zst')[number]}").write_bytes(b"".join(parts))
    for name in ("f0", "f1.gz", "f2.zst"):
        assert send(folder, name).stderr.startswith("3 events acknowledged by ")
    assert send(folder, "-").stderr.startswith("1 event acknowledged by ")
    assert subprocess.run([sys.executable, "-m", "mulgil", "run", "--once"], cwd=folder, timeout=30).returncode == 0
    assert numbers(settings, "bronze.web") == list(range(10))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("f.gz", b"no", "error: the file cannot be read to its end"),
        ("f.gz", gzip.compress(b'{"n":1}', mtime=0)[:20], "error: the file cannot be read to its end"),
        ("f.zst", b"no such frame", "error: the file cannot be read to its end"),
        ("f.ndjson", b'{"n":1}\nno\n', "error: line 2: "),
        ("f.ndjson", b'{"n":"%s"}\n' % (b"x" * 1100) * 1000 + b"no\n", "error: line 1,001: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_plain_words(name: str, content: bytes, said: str, folder: Path) -> None:
    project(folder)
    (folder / name).write_bytes(content)
    done = send(folder, name)
    assert (done.returncode, done.stderr.startswith(said)) == (1, True), done.stderr
    assert f"where: {name}" in done.stderr


def test_a_body_that_is_refused_before_it_is_read_is_told_as_what_it_is(folder: Path) -> None:
    settings = project(folder)
    with Running(settings) as running:
        sender = HttpSender(running.service.url or "", "web", "", TurnedClock())
        with pytest.raises(Invalid, match="the body has"):
            sender.send(b'{"n":"%s"}' % (b"x" * 40_000_000))
        sender.close()


def test_a_url_that_cannot_work_is_told_at_once() -> None:
    for url in ("ftp://h", "http://", "http://h:99999", "http://h/v1/web"):
        with pytest.raises(Invalid):
            HttpSender(url, "web", "")


def test_no_tls_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        sender = HttpSender(url, "web", "", TurnedClock(), context=ssl.create_default_context())
        with pytest.raises(Invalid, match="no TLS with the server"):
            sender.send(b"{}")
        sender.close()
        thread.join(timeout=10)
