"""How fast records become columns and Parquet, per format, beside the bare kernels that read the same bytes.

    python benchmarks/decode_formats.py [--megabytes 32]

Prints MB of input per second of CPU time of one thread: decoding alone, decoding and writing Parquet (zstd 1), the bare
kernel to Parquet (DuckDB's read_json, Arrow's CSV reader), and what share of the kernel is kept. The input is made up
from a fixed seed; the best of three runs counts, all in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from mulgil.delivery.decode import Decoded, decoder
from mulgil.record import Records
from mulgil.schema import Format

AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    for system in ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7")
    for version in range(100, 130)
]
START = datetime(2026, 11, 22, tzinfo=UTC)


def json_lines(size: int, chance: random.Random, odd: str = "") -> bytes:
    """Behaviour events of about 370 bytes. `odd` changes the type of a column: in "every" record or in "some"."""
    lines, length, number = [], 0, 0
    while length < size:
        number += 1
        event = {
            "event_id": f"{chance.getrandbits(128):032x}",
            "event_time": (START + timedelta(milliseconds=number)).isoformat(timespec="milliseconds"),
            "name": chance.choice(("page_view", "search", "reserve")),
            "user": {"id": chance.randrange(2_000_000), "plan": "free"},
            "clinic": chance.randrange(5_000),
            "price": chance.randrange(1_000_000) / 100,
            "first": chance.random() < 0.1,
            "page": f"/clinics/{chance.randrange(5_000)}?tab=doctors",
            "agent": chance.choice(AGENTS),
        }
        if odd == "every" or (odd == "some" and number % 100 == 0):
            event["clinic"] = f"c{event['clinic']}"
        lines.append(json.dumps(event, separators=(",", ":")).encode())
        length += len(lines[-1]) + 1
    return b"\n".join(lines) + b"\n"


def access_lines(size: int, chance: random.Random) -> bytes:
    """Lines of `combined`, about 220 bytes."""
    lines, length, number = [], 0, 0
    while length < size:
        number += 1
        at = (START + timedelta(milliseconds=5 * number)).strftime("%d/%b/%Y:%H:%M:%S +0000")
        host = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"
        request = f"GET /clinics/{chance.randrange(5_000)}?page={chance.randrange(20)} HTTP/1.1"
        status = chance.choice((200, 200, 200, 304, 404))
        referer = f"https://example.org/search?q={chance.randrange(10_000)}"
        lines.append(
            f'{host} - - [{at}] "{request}" {status} {chance.randrange(90_000)} "{referer}" "{chance.choice(AGENTS)}"'
        )
        length += len(lines[-1]) + 1
    return ("\n".join(lines) + "\n").encode()


def csv_lines(size: int, chance: random.Random) -> bytes:
    """Six fields, about 60 bytes."""
    lines, length, number = [], 0, 0
    while length < size:
        number += 1
        at = (START + timedelta(seconds=number)).isoformat()
        lines.append(f"{number},{at},{chance.randrange(5_000)},{chance.random():.4f},free,{chance.getrandbits(40):x}")
        length += len(lines[-1]) + 1
    return ("\n".join(lines) + "\n").encode()


def alb_lines(size: int, chance: random.Random) -> bytes:
    """Load balancer lines, about 430 bytes."""
    lines, length, number = [], 0, 0
    while length < size:
        number += 1
        at = (START + timedelta(milliseconds=5 * number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lines.append(
            f"https {at} app/web/50dc6c495c0c9188 10.0.{chance.randrange(256)}.7:{chance.randrange(1024, 65536)} "
            f"10.1.0.4:80 0.001 0.0{chance.randrange(100)} 0.000 200 200 90 {chance.randrange(90_000)} "
            f'"GET https://www.example.com:443/clinics/{chance.randrange(5_000)} HTTP/2.0" "{chance.choice(AGENTS)}" '
            "ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:ap-northeast-2:1:targetgroup/web/73e2 "
            f'"Root=1-{chance.getrandbits(96):x}" "www.example.com" "-" 0 {at} "forward" "-" "-" '
            '"10.1.0.4:80" "200" "-" "-"'
        )
        length += len(lines[-1]) + 1
    return ("\n".join(lines) + "\n").encode()


def best(work: Callable[[], object]) -> float:
    """Least CPU seconds of three runs."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--megabytes", type=int, default=32)
    size = options.parse_args().megabytes * 1_000_000
    chance = random.Random(20_261_122)
    pa.set_cpu_count(1)
    folder = tempfile.TemporaryDirectory(prefix="mulgil-bench-")
    place = Path(folder.name)

    def write(rows: pa.Table) -> None:
        pq.write_table(rows, place / "out.parquet", compression="zstd", compression_level=1)

    def measure(label: str, data: bytes, form: Format, kernel: Callable[[bytes], object], **rules: object) -> None:
        settings = {"declared": {}, "time": None, "strict": False} | rules
        first = decoder(form, rules.pop("columns", pa.schema([])), **settings_of(settings)).decode(
            Records.of_lines(data)
        )
        columns = rules.get("known", first.rows.schema)

        def decode() -> Decoded:
            return decoder(form, columns, **settings_of(settings)).decode(Records.of_lines(data))

        alone = len(data) / best(decode) / 1e6
        both = len(data) / best(lambda: write(decode().rows)) / 1e6
        bare = len(data) / best(lambda: kernel(data)) / 1e6
        records = len(first.index) + len(first.bad)
        print(
            f"{label:34} {len(data) / records:6.0f} {alone:9.0f} {both:9.0f} {bare:9.0f} {both / bare:7.0%}   "
            f"{first.rescued} rescued, {len(first.bad)} bad"
        )

    def settings_of(settings: dict[str, object]) -> dict[str, object]:
        return {name: settings[name] for name in ("declared", "time", "strict")}

    def duck_json(data: bytes) -> None:
        source = place / "in.json"
        if not source.exists() or source.stat().st_size != len(data):
            source.write_bytes(data)
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute(
                f"copy (from read_json('{source}', format='newline_delimited')) to '{place}/duck.parquet' "
                "(format parquet, compression zstd, compression_level 1)"
            )

    def arrow(delimiter: str) -> Callable[[bytes], object]:
        def run(data: bytes) -> None:
            read = arrow_csv.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=8 << 20)
            write(arrow_csv.read_csv(pa.BufferReader(data), read, arrow_csv.ParseOptions(delimiter=delimiter)))

        return run

    print(f"{'MB of input per CPU second':34} {'bytes':>6} {'decode':>9} {'+Parquet':>9} {'kernel':>9} {'kept':>7}")
    events = json_lines(size, chance)
    known = decoder(Format("json"), pa.schema([]), declared={}, time="event_time", strict=False)
    schema = known.decode(Records.of_lines(events)).rows.schema
    measure("json (kernel: DuckDB)", events, Format("json"), duck_json, time="event_time")
    measure("json, 1 record in 100 misfits", json_lines(size, chance, "some"), Format("json"), duck_json,
            time="event_time", columns=schema)  # fmt: skip
    measure("json, a column changed for good", json_lines(size, chance, "every"), Format("json"), duck_json,
            time="event_time", columns=schema)  # fmt: skip
    measure("combined (kernel: Arrow CSV)", access_lines(size, chance), Format("combined"), arrow(" "))
    fields = ("id", "at", "clinic", "score", "plan", "token")
    measure("csv (kernel: Arrow CSV)", csv_lines(size, chance), Format("csv", fields=fields), arrow(","), time="at")
    measure("alb (kernel: Arrow CSV)", alb_lines(size, chance), Format("alb"), arrow(" "))
    line = Format("regex", pattern=r"^(?P<host>\S+) \S+ \S+ \[(?P<at>[^\]]+)\] \"(?P<request>[^\"]*)\" (?P<status>\d+)")
    measure("regex (kernel: Arrow CSV)", access_lines(size // 4, chance), line, arrow(" "))
    folder.cleanup()


if __name__ == "__main__":
    main()
