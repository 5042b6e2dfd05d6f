"""The end of a stream as a power failure may leave it: what was written and not synced is cut off, zeros, or noise.

Only what nobody was told of may be damaged. Three witnesses say what that is: the answers that clients got, the
positions in the state, and the frames themselves, which say how far the shard was synced when they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

from mulgil.stream import frame
from mulgil.stream.segment import START, Segment


def tear(stream: Path, floors: Mapping[int, int], random: Random) -> list[str]:
    """Damage the tails of a stopped stream's shards; what was done, in words.

    `floors`: per shard the sequence number below which everything was acknowledged or delivered.
    """
    done = []
    for folder in sorted(stream.glob("shard-*")):
        if segments := sorted(folder.glob("*.seg")):
            done.append(f"{folder.name}: {_tear(segments[-1], floors.get(int(folder.name[6:]), 0), random)}")
    return done


def _tear(path: Path, floor: int, random: Random) -> str:
    with path.open("r+b") as file:
        data = file.read()
        segment = Segment(0, path, int(path.stem), len(data))
        identity = segment.identity(file.fileno())
        if identity is None:
            return "nothing to tear"
        safe = position = START
        while (header := frame.unpack_header(data, position, identity)) is not None:
            floor = max(floor, header.durable)
            if not header.records:
                break
            position += header.size
            if header.end <= floor:
                safe = position
        used = position
        if used == safe:
            # Everything is acknowledged: what a write that had just begun leaves behind it
            fragment = data[START : START + random.randint(1, 400)] if random.random() < 0.5 else random.randbytes(300)
            file.seek(used)
            file.write(fragment)
            return f"{len(fragment)} bytes of a torn write behind the last frame"
        cut = random.randrange(safe, used)
        match random.choice(("cut", "zeros", "noise")):
            case "cut":
                file.truncate(cut)
                return f"cut off at {cut} of {used}"
            case "zeros":
                file.seek(cut)
                file.write(bytes(used - cut + frame.HEADER_BYTES))
                return f"zeros from {cut} to {used}"
            case _:
                file.seek(cut)
                file.write(random.randbytes(used - cut + frame.HEADER_BYTES))
                return f"noise from {cut} to {used}"
