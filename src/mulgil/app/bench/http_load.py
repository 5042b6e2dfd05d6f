"""Posts batches of events to a server and measures the answers. Runs as a process of its own, beside the server.

    python -m mulgil.app.bench.http_load HOST:PORT {mulgil|kinesis} SECONDS CONNECTIONS [EVENTS_PER_SECOND]

500 events of about 300 bytes a request, each event with an id of its own. Prints one JSON object.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import sys
import threading
import time

EVENTS = 500
MARK = b"########"
AWS = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "Kinesis_20131202.PutRecords",
    "x-amz-date": "20261122T000000Z",
    "authorization": "AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00",
}


def events(seed: int) -> list[bytes]:
    """One request's events; their ids begin with a mark that every request replaces."""
    chance = random.Random(seed)
    made = []
    for index in range(EVENTS):
        event = {
            "event_id": f"{MARK.decode()}-{seed:04x}-{index:04x}-{chance.getrandbits(64):016x}",
            "event_time": f"2026-11-22T{index % 24:02d}:{seed % 60:02d}:{index % 60:02d}.{chance.randrange(1000):03d}Z",
            "event": chance.choice(("page_view", "search", "reserve", "click")),
            "user_id": chance.randrange(2_000_000),
            "clinic_id": chance.randrange(5_000),
            "path": f"/clinics/{chance.randrange(5_000)}/doctors?page={index % 9}",
            "price": chance.randrange(100, 10_000) / 100 + 0.001,
            "agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1",
            "props": {"variant": chance.choice("ab"), "rank": index % 30},
        }
        made.append(json.dumps(event, separators=(",", ":")).encode())
    return made


def request_of(kind: str, seed: int) -> bytes:
    lines = events(seed)
    if kind == "mulgil":
        return b"\n".join(lines) + b"\n"
    records = [
        {"Data": base64.b64encode(line).decode(), "PartitionKey": f"{index}"} for index, line in enumerate(lines)
    ]
    return json.dumps({"StreamName": "web", "Records": records}).encode()


def main() -> None:
    address, kind, seconds, connections = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    host, _, port = address.partition(":")
    path, headers = ("/v1/web", {}) if kind == "mulgil" else ("/", AWS)
    bodies = [request_of(kind, seed) for seed in range(8)]
    latencies: list[float] = []
    refused = [0]
    began = time.perf_counter()

    def post(number: int) -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        turn = 0
        while (now := time.perf_counter()) - began < seconds:
            if rate and (early := began + turn * connections * EVENTS / rate - now) > 0:
                time.sleep(early)
            body = bodies[turn % len(bodies)].replace(MARK, b"%02x%06x" % (number, turn))
            turn += 1
            sent = time.perf_counter()
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            response.read()
            if response.status not in (200, 202):
                refused[0] += 1
                time.sleep(0.05)
                continue
            latencies.append(time.perf_counter() - sent)

    threads = [threading.Thread(target=post, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    ordered = sorted(latencies)
    print(
        json.dumps(
            {
                "events": len(ordered) * EVENTS,
                "events_per_s": len(ordered) * EVENTS / took,
                "p50_ms": ordered[len(ordered) // 2] * 1e3,
                "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
                "refused": refused[0],
                "event_bytes": len(bodies[0]) / EVENTS,
                "seconds": took,
            }
        )
    )


if __name__ == "__main__":
    main()
