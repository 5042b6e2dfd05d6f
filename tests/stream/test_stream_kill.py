"""A real process appends and is killed at a random moment: what it said was durable is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mulgil.clock import SystemClock
from mulgil.stream import EmbeddedStream, StreamSettings

SETTINGS = StreamSettings(segment_bytes=200_000, frame_bytes_max=20_000, shards=2, disk_free_bytes_min=0)

PRODUCER = """
import random, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_stream_kill import SETTINGS
from mulgil.clock import SystemClock
from mulgil.stream import Appended, EmbeddedStream

stream = EmbeddedStream(Path(sys.argv[1]), SETTINGS, SystemClock())
print("ready", flush=True)

def produce(producer):
    chance = random.Random(f"{sys.argv[2]}/{producer}")
    room = threading.Semaphore(8)
    for number in range(10**9):
        count = chance.randint(1, 4)
        payload = (b"%d-%d-" % (producer, number) + b"x" * chance.choice([3, 200, 9000]) + b"\\n") * count
        def done(answer, name=payload[:payload.index(b"x")].decode()):
            assert isinstance(answer, Appended), answer
            sys.stdout.write(f"{answer.shard} {answer.first} {answer.count} {name}\\n")
            sys.stdout.flush()
            room.release()
        room.acquire()
        stream.append(payload, count, shard=number % 2, key=f"{producer}-{number}", done=done)

for producer in range(4):
    threading.Thread(target=produce, args=(producer,)).start()
"""


def kill_and_check(folder: Path, seed: int, rounds: int = 3) -> None:
    chance = random.Random(seed)
    acknowledged: dict[tuple[int, int], tuple[int, str]] = {}
    for again in range(rounds):
        command = [sys.executable, "-c", PRODUCER, str(folder), f"{seed}/{again}", str(Path(__file__).parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"seed {seed}"
        kill_after = chance.randint(1, 600)
        for number, line in enumerate(process.stdout, 1):
            if number == kill_after:
                process.send_signal(signal.SIGKILL)
            if line.endswith("\n"):
                shard, first, count, name = line.split()
                assert (int(shard), int(first)) not in acknowledged, f"seed {seed}: a number was given twice"
                acknowledged[int(shard), int(first)] = (int(count), name)
        process.stdout.close()
        process.wait(30)

    stream = EmbeddedStream(folder, SETTINGS, SystemClock())
    lines: dict[tuple[int, int], bytes] = {}
    for shard, end in enumerate(stream.ends()):
        sequence = 0
        while frames := stream.read(shard, sequence, 50_000):
            for frame in frames:
                assert frame.first == sequence, f"seed {seed}"
                records = frame.payload.splitlines()
                assert len(records) == frame.count, f"seed {seed}"
                lines |= {(shard, frame.first + i): record for i, record in enumerate(records)}
                sequence += frame.count
        assert sequence == end, f"seed {seed}"
    assert stream.gaps() == [], f"seed {seed}"
    stream.close()
    for (shard, first), (count, name) in acknowledged.items():
        for index in range(count):
            record = lines[shard, first + index].decode()
            assert record.startswith(name), f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_acknowledged_records_outlive_a_kill(tmp_path: Path, seed: int) -> None:
    kill_and_check(tmp_path / "stream", seed, rounds=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_acknowledged_records_outlive_many_kills(tmp_path: Path, seed: int) -> None:
    kill_and_check(tmp_path / "stream", seed, rounds=4)
