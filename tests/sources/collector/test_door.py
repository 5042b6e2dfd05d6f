from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from doorway import Doorway, free_port

from mulgil.clock import SystemClock
from mulgil.errors import Broken, Invalid, Overloaded, Retry
from mulgil.sources import StreamSource
from mulgil.sources.collector import CollectorSettings, incoming
from mulgil.sources.collector import door as door_module
from mulgil.stream import EmbeddedStream, MemoryStream, StreamSettings

LIMIT = 100_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Doorway]:
    """A door that stays open; tests look at what they themselves add."""
    with Doorway(CollectorSettings(port=free_port(), body_bytes_max=LIMIT)) as made:
        yield made


@pytest.fixture
def door(shared: Doorway) -> Iterator[Doorway]:
    before = {name: list(shared.streams[name].ends()) for name in shared.streams}
    shared.keys, shared.refusal, shared.healthy = {}, None, True
    shared.before = before  # type: ignore[attr-defined]
    yield shared
    shared.keys, shared.refusal, shared.healthy = {}, None, True


def added(door: Doorway, source: str = "web") -> int:
    return sum(door.streams[source].ends()) - sum(door.before[source])  # type: ignore[attr-defined]


# Events


@pytest.mark.parametrize(
    ("body", "headers", "count"),
    [
        (b'{"a":1}', {}, 1),
        (b'[{"a":1},{"a":2}]', {"content_type": "application/json"}, 2),
        (b'{"a":1}\n{"a":2}\n{"a":3}', {"content_type": "application/x-ndjson"}, 3),
        (gzip.compress(b'{"a":1}\n{"a":2}'), {"content_encoding": "gzip"}, 2),
        (zstandard.ZstdCompressor().compress(b'{"a":1}'), {"content_encoding": "zstd"}, 1),
        (iter([b'{"a"', b":1}"]), {}, 1),
    ],
    ids=["object", "array", "lines", "gzip", "zstd", "chunked"],
)
def test_events_are_taken_in_and_counted(door: Doorway, body: Any, headers: dict[str, str], count: int) -> None:
    answer = door.post(body, **headers)
    assert (answer.status, answer.told["accepted"]) == (202, count)
    assert added(door) == count
    assert door.appended[-1] == "web"


def test_what_was_posted_lies_in_the_stream_as_lines(door: Doorway) -> None:
    answer = door.post(b'{\n  "only": "here"\n}', idempotency_key="a key").told
    (frame,) = door.streams["web"].read(answer["shard"], answer["first"], 1)
    assert frame.payload == b'{"only":"here"}\n'
    assert frame.entries[0].key == "a key"


def test_requests_with_one_key_come_into_one_shard(door: Doorway) -> None:
    for headers, query in (({"idempotency_key": "k1"}, ""), ({}, "?partition_key=user-7")):
        shards = {door.post(b"{}", f"/v1/web{query}", **headers).told["shard"] for _ in range(4)}
        assert len(shards) == 1
    assert {door.post(b"{}").told["shard"] for _ in range(4)} == {0, 1}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (("POST", "/v1/web", b'{"a":1}\n{"b":\n'), 400),
        (("POST", "/v1/web", b""), 400),
        (("POST", "/v1/web", b'{"a":NaN}'), 400),
        (("POST", "/v1/web", b'{"a":' * 3000), 400),
        (("POST", "/v1/nobody", b"{}"), 404),
        (("POST", "/v1/", b"{}"), 404),
        (("POST", "/v1/web/agent", b"{}"), 404),
        (("POST", "/v1/logs", b"{}"), 404),
        (("POST", "/v1/web/more/of/it", b"{}"), 404),
        (("POST", "/elsewhere", b"{}"), 404),
        (("GET", "/v1/web", None), 405),
        (("DELETE", "/v1/web", None), 405),
        (("PUT", "/v1/web", b"{}"), 405),
        (("POST", "/v1/web", b"x" * (LIMIT + 1)), 413),
        (("POST", "/v1/web", iter([b"x" * 50_000] * 3)), 413),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(door: Doorway, asked: tuple[str, str, Any], status: int) -> None:
    answer = door.ask(*asked)
    assert answer.status == status
    assert answer.told["error"]
    assert added(door) == 0
    assert door.post(b"{}").status == 202, "and the next one is taken"


@pytest.mark.parametrize("path", ["/v1/nobody", "/v1/web"])
def test_a_refusal_is_heard_by_a_client_that_is_still_sending(door: Doorway, path: str) -> None:
    piece = b"x" * 100_000
    for _ in range(5):
        assert door.post(piece * 30, path).status in (404, 413)
        assert door.post(iter([piece] * 30), path).status in (404, 413)


def test_a_mistake_is_named_with_its_line(door: Doorway) -> None:
    assert "line 2" in door.post(b'{"a":1}\n{"b":}\n').told["error"]


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"{}", 415),
        ("gzip", b"{}", 400),
        ("gzip", gzip.compress(b"{}")[:-4], 400),
        ("gzip", gzip.compress(b" " * (LIMIT + 1)), 413),
        ("zstd", zstandard.ZstdCompressor().compress(b" " * (LIMIT + 1)), 413),
        ("gzip", b"", 400),
    ],
    ids=range(6),
)
def test_packed_bodies_that_cannot_be_taken(door: Doorway, encoding: str, body: bytes, status: int) -> None:
    assert door.post(body, content_encoding=encoding).status == status
    assert added(door) == 0


def test_a_body_that_is_longer_than_it_says_is_never_held(door: Doorway) -> None:
    """Both a length and chunks: the chunks count, and the limit holds for them."""
    with socket.create_connection((door.settings.host, door.settings.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/web HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"x" * 50_000
        try:
            for _ in range(3):
                raw.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            raw.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass
        answer = raw.recv(100)
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
    assert added(door) == 0


def test_a_slow_body_does_not_keep_its_connection_for_ever(door: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "BODY_S_MAX", 0.2)
    with socket.create_connection(("127.0.0.1", door.settings.port), timeout=10) as client:
        client.sendall(b"POST /v1/web HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{}")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
    assert added(door) == 0


def test_bodies_that_together_are_too_large_are_told_to_come_again(
    door: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "HELD_BYTES_MAX", 1000)
    event = b'{"n":"%s"}' % (b"x" * 200)
    with socket.create_connection(("127.0.0.1", door.settings.port), timeout=10) as slow:
        slow.sendall(b"POST /v1/web HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{")
        assert comes(door, event, 429)
    assert comes(door, event, 202)


def comes(door: Doorway, event: bytes, status: int) -> bool:
    """Whether a post is answered so, soon: another connection's bytes take a moment to arrive, or to be missed."""
    for _ in range(200):
        if door.post(event).status == status:
            return True
        time.sleep(0.02)
    return False


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(door: Doorway) -> None:
    event = b'{"a":1}\n'
    for head, body in (
        (b"Content-Length: 1000", event),
        (b"Transfer-Encoding: chunked", b""),
        (b"Transfer-Encoding: chunked", b"8\r\n" + event + b"\r\n"),
        (b"Transfer-Encoding: chunked", b"8\r\n" + event + b"\r\n8\r\n" + event),
        (b"Transfer-Encoding: chunked", b"80\r\n" + event),
    ):
        with socket.create_connection((door.settings.host, door.settings.port), timeout=10) as raw:
            raw.sendall(b"POST /v1/web HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
    assert door.post(b"{}").status == 202
    time.sleep(0.1)
    assert added(door) == 1
    assert "Traceback" not in door.lines.getvalue()


def test_keys_of_any_characters_harm_nobody(door: Doorway) -> None:
    with socket.create_connection((door.settings.host, door.settings.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/web HTTP/1.1\r\nHost: x\r\nIdempotency-Key: \xe9\xff\r\nContent-Length: 2\r\n\r\n{}")
        status = raw.recv(100).split()[1]
    assert status == b"400", "else the request would count twice when it is sent again"
    assert added(door) == 0
    assert door.post(b"{}", idempotency_key="k" * 1025).status == 400
    assert door.post(b"{}", idempotency_key="k" * 1024).status == 202


# Keys


def test_a_key_is_asked_for_where_there_are_keys(door: Doorway) -> None:
    door.keys = {"secret": {"write:web"}, "other": {"write:logs", "read:metrics"}}
    assert door.post(b"{}").status == 401
    assert door.post(b"{}", authorization="Basic secret").status == 401
    assert door.post(b"{}", authorization="Bearer wrong").status == 403
    assert door.post(b"{}", authorization="Bearer other").status == 403
    assert door.post(b"{}", authorization="Bearer \xe9").status == 401
    assert added(door) == 0
    assert door.post(b"{}", authorization="Bearer secret").status == 202
    assert door.post(b"{}", authorization="bearer  secret ").status == 202
    assert door.post(b"{}", "/v1/web?key=secret").status == 202
    assert door.ask("GET", "/metrics").status == 401
    assert door.ask("GET", "/metrics", authorization="Bearer secret").status == 403
    assert door.ask("GET", "/metrics", authorization="Bearer other").status == 200
    assert door.ask("GET", "/v1/logs/agent?generation=g").status == 401
    assert door.ask("GET", "/healthz").status == 200


def test_a_refusal_names_no_secret(door: Doorway) -> None:
    door.keys = {"secret": set()}
    for query in ("?key=secret", "?api_secret=secret&measurement_id=G"):
        for path in ("/v1/web", "/mp/collect"):
            answer = door.post(b"{}", path + query)
            assert answer.status == 403
            assert b"secret=" not in answer.body
            assert b'"secret"' not in answer.body
    assert "secret" not in door.lines.getvalue()


# Browsers


def test_pages_post_from_where_the_source_allows_and_from_nowhere_else(door: Doorway) -> None:
    shop, foreign = "https://shop.example.com", "https://evil.example.com"
    taken = door.post(b"{}", origin=shop, content_type="text/plain;charset=UTF-8")
    assert taken.status == 202
    assert taken.headers["access-control-allow-origin"] == shop
    assert taken.headers["vary"] == "origin"
    for origin in (foreign, "null", shop + ".evil.com", "http://shop.example.com"):
        refused = door.post(b"{}", origin=origin)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
    assert added(door) == 1
    assert door.post(b"{}", "/v1/open", origin=foreign).headers["access-control-allow-origin"] == foreign
    wrong = door.post(b"no", origin=shop)
    assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (400, shop), "the page may read why"


def test_a_preflight_is_answered(door: Doorway) -> None:
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type"}
    answer = door.ask("OPTIONS", "/v1/web", origin="https://shop.example.com", **asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example.com"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-credentials"] == "true", "navigator.sendBeacon asks with credentials"
    refused = door.ask("OPTIONS", "/v1/web", origin="https://evil.example.com", **asked)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers


def test_a_preflight_needs_no_key_and_a_beacon_brings_its_own(door: Doorway) -> None:
    door.keys = {"k": {"write:web"}}
    origin = "https://shop.example.com"
    assert door.ask("OPTIONS", "/v1/web", origin=origin).status == 204
    assert door.post(b"{}", origin=origin).status == 401
    assert door.post(b"{}", "/v1/web?key=k", origin=origin, content_type="text/plain").status == 202


def test_analytics_bodies_are_taken_at_their_own_address(door: Doorway) -> None:
    body = json.dumps({"client_id": "a", "events": [{"name": "x"}, {"name": "y"}]}).encode()
    answer = door.post(body, "/mp/collect?measurement_id=G-7&api_secret=s")
    assert (answer.status, answer.body) == (204, b"")
    assert added(door) == 2
    assert door.payload()[-1] if door.payload() else None
    assert any(json.loads(one).get("measurement_id") == "G-7" for one in door.payload())
    assert door.post(b'{"events":[]}', "/mp/collect").status == 400


# Too much


def test_a_source_that_lags_says_when_to_come_again(door: Doorway) -> None:
    door.refusal = Overloaded("4100 MB of web wait for the lake", after_s=5)
    answer = door.post(b"{}", origin="https://shop.example.com")
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    assert answer.headers["access-control-allow-origin"]
    door.refusal = Retry("later", after_s=0.2)
    answer = door.post(b"{}")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert added(door) == 0


@pytest.mark.parametrize(
    ("failure", "status"),
    [(Overloaded("the disk is full", after_s=7), 503), (Retry("the disk failed"), 503), (Broken("stopped"), 503)],
)
def test_a_failing_disk_is_no_acknowledgement(failure: Any, status: int) -> None:
    with Doorway() as door, ThreadPoolExecutor() as pool:
        stream = door.streams["web"]
        assert isinstance(stream, MemoryStream)
        stream.hold()
        asking = pool.submit(door.post, b"{}")
        while not any(stream._waiting):
            time.sleep(0.005)
        stream.fail(failure)
        answer = asking.result(timeout=10)
        assert answer.status == status
        if not isinstance(failure, Broken):
            assert answer.headers["retry-after"] == str(round(failure.after_s))
        assert sum(stream.ends()) == 0


def test_health_and_metrics(door: Doorway) -> None:
    assert door.ask("GET", "/healthz").told["status"] == "ok"
    door.healthy = False
    assert door.ask("GET", "/healthz").status == 503
    door.post(b'[{"a":1},{"a":2}]')
    text = door.ask("GET", "/metrics").body.decode()
    assert 'mulgil_http_requests_total{source="web",status="202"}' in text
    assert 'mulgil_http_accepted_records_total{source="web"}' in text


def test_a_fault_of_ours_is_an_answer_and_a_trace_in_the_log(door: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(generation: str) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(door.receipts, "_stored", lambda source, generation: fail(generation))
    answer = door.ask("GET", "/v1/logs/agent?generation=fault")
    assert answer.status == 500
    assert "ZeroDivisionError" in door.lines.getvalue()
    assert "ZeroDivisionError" not in answer.body.decode()


# An acknowledgement means: on the disk


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path) -> None:
    may_sync = threading.Event()
    may_sync.set()

    def sync(file: int) -> None:
        assert may_sync.wait(20)

    stream = EmbeddedStream(tmp_path / "stream", StreamSettings(disk_free_bytes_min=0), SystemClock(), sync=sync)
    with Doorway(streams={"web": stream}) as door, ThreadPoolExecutor() as pool:
        may_sync.clear()
        asking = [pool.submit(door.post, b'{"a":%d}' % number) for number in range(3)]
        time.sleep(0.2)
        assert not any(one.done() for one in asking)
        assert stream.ends() == [0]
        assert door.ask("GET", "/healthz").status == 200, "others do not wait for the disk"
        may_sync.set()
        assert [one.result(timeout=10).status for one in asking] == [202] * 3
        assert stream.ends() == [3]
    stream.close()


def test_stopping_answers_what_is_under_way_and_takes_no_more() -> None:
    with Doorway() as door, ThreadPoolExecutor() as pool:
        stream = door.streams["web"]
        assert isinstance(stream, MemoryStream)
        stream.hold()
        asking = pool.submit(door.post, b"{}")
        while not any(stream._waiting):
            time.sleep(0.005)
        stopping = pool.submit(door.server.stop)
        time.sleep(0.05)
        stream.release()
        assert asking.result(timeout=10).status == 202
        stopping.result(timeout=10)
        with pytest.raises(OSError):
            door.post(b"{}")


def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    with Doorway() as door:
        idle = door.connect()
        idle.request("POST", "/v1/web", b"{}")
        assert idle.getresponse().read()
        began_s = time.monotonic()
        door.server.stop()
        assert time.monotonic() - began_s < 5
        idle.close()


# Agents


def test_an_agents_bytes_are_taken_once_and_its_mark_is_told(door: Doorway) -> None:
    first, second = b"a\nb\n", b"c\n"
    assert door.ask("GET", "/v1/logs/agent?generation=once").told == {"offset": 0}
    assert door.ship(first, 0, generation="once").told == {"offset": 4}
    again = door.ship(first, 0, generation="once")
    assert (again.status, again.told) == (202, {"offset": 4})
    assert added(door, "logs") == 2
    overlap = door.ship(first + second, 0, generation="once")
    assert (overlap.status, overlap.told) == (202, {"offset": 6})
    assert added(door, "logs") == 3
    gap = door.ship(b"z\n", 100, generation="once")
    assert (gap.status, gap.told) == (409, {"offset": 6})
    assert added(door, "logs") == 3
    assert door.ask("GET", "/v1/logs/agent?generation=once").told == {"offset": 6}


def test_damaged_shipments_are_refused_and_move_no_mark(door: Doorway) -> None:
    for more in (
        {"mulgil_crc32": "0"},
        {"mulgil_length": "1"},
        {"mulgil_generation": "shard-1"},
        {"mulgil_starts": "?"},
    ):
        assert door.ship(b"a\nb\n", 0, **{"generation": "damaged", **more}).status == 400
    assert door.ask("GET", "/v1/logs/agent?generation=damaged").told == {"offset": 0}
    assert door.ask("GET", "/v1/logs/agent?generation=").status == 400
    assert added(door, "logs") == 0


def test_packed_shipments_count_as_what_they_hold(door: Doorway) -> None:
    import zlib

    data = b"line\n" * 100
    answer = door.ship(
        gzip.compress(data), 0, generation="packed", content_encoding="gzip", mulgil_length=str(len(data)),
        mulgil_crc32=f"{zlib.crc32(data):x}",
    )  # fmt: skip
    assert answer.told == {"offset": 500}
    assert added(door, "logs") == 100


def test_one_file_sent_by_many_connections_at_once_is_stored_once(door: Doorway) -> None:
    data = b"".join(b"%d\n" % number for number in range(100))
    stream = door.streams["logs"]
    assert isinstance(stream, MemoryStream)
    stream.hold()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(door.ship, data, 0, generation="many") for _ in range(8)]
        while not any(stream._waiting):
            time.sleep(0.005)
        time.sleep(0.1)
        stream.release()
    assert {one.result().status for one in asking} == {202}
    assert added(door, "logs") == 100


def test_records_of_several_lines_arrive_as_they_were_cut(door: Doorway) -> None:
    data = b"a 1\n  more\nb 2\n"
    starts = base64.b64encode(np.array([0, 11], dtype="<u4").tobytes()).decode()
    assert door.ship(data, 0, generation="multi", mulgil_starts=starts).status == 202
    source = StreamSource("logs", door.streams["logs"])
    source.resume([])
    (block,) = [one for one in source.poll(1 << 20) if one.part == "multi"]
    records = block.records
    assert [records[index] for index in range(len(records))] == [b"a 1\n  more", b"b 2"]
    assert block.mark.place == len(data)
    assert block.unit == "byte"


def test_what_state_and_stream_hold_is_asked_for_at_the_beginning(door: Doorway) -> None:
    door.stored["logs", "known"] = 40
    assert door.ask("GET", "/v1/logs/agent?generation=known").told == {"offset": 40}
    assert door.ship(b"a\n", 50, generation="known").status == 409
    assert door.ship(b"a\n", 38, generation="known").told == {"offset": 40}
    assert door.ship(b"ab\n", 38, generation="known").told == {"offset": 41}
    assert door.ship(b"a\n", 1000, generation="begun elsewhere").told == {"offset": 1002}


# The socket


def test_an_address_that_is_taken_is_named(door: Doorway) -> None:
    with pytest.raises(Invalid, match="cannot listen"):
        Doorway(door.settings)


def test_a_server_can_be_stopped_in_any_state() -> None:
    never = Doorway()
    never.server.stop()
    twice = Doorway()
    twice.server.start()
    twice.server.stop()
    twice.server.stop()
    with Doorway(CollectorSettings(port=twice.settings.port)) as again:
        assert again.post(b"{}").status == 202


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_it_speaks_tls_with_a_certificate_from_files(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    settings = CollectorSettings(port=free_port(), certificate=cert, private_key=key)
    with Doorway(settings, context=ssl.create_default_context(cafile=str(cert))) as door:
        assert door.server.url.startswith("https://")
        assert door.post(b"{}").status == 202
        door.context = None
        with pytest.raises((OSError, http.client.HTTPException)):
            door.post(b"{}")


def test_files_that_are_no_certificate_are_named_before_anything_runs(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    cases = [(tmp_path / "missing.pem", key), (key, key), (cert, cert)]
    for one, other in cases:
        with pytest.raises(Invalid, match="certificate"):
            Doorway(CollectorSettings(port=free_port(), certificate=one, private_key=other))
