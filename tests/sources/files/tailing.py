"""What the tests of the files source share: a source with a turned clock, and a reader that keeps books."""

from __future__ import annotations

from pathlib import Path

from mulgil.clock import TurnedClock
from mulgil.record import Block, Mark
from mulgil.sources.files import FilesSettings, FilesSource


class Reader:
    """Delivery in small: polls, keeps lines, stores marks when told to; may be restarted or made to resume."""

    def __init__(self, *paths: Path | str, **settings: object) -> None:
        self.clock = TurnedClock()
        self.settings = FilesSettings(
            name="logs",
            paths=tuple(str(path) for path in paths),
            scan_interval_s=0,
            **settings,  # type: ignore[arg-type]
        )
        self.marks: dict[str, Mark] = {}
        self.lines: list[bytes] = []
        self.unreadable = 0
        self.blocks: list[Block] = []
        self.ends: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        self.source = FilesSource(self.settings, self.clock)
        self.source.resume(list(self.marks.values()))
        self.ends = {part: mark.place for part, mark in self.marks.items()}

    def restart(self) -> None:
        self.source.close()
        self.start()

    def take(self, bytes_max: int = 1 << 20, *, commit: bool = True) -> list[bytes]:
        """One poll, its records kept (unless `commit` is false: then it is as if delivery had failed)."""
        blocks = self.source.poll(bytes_max)
        lines = []
        for block in blocks:
            assert block.unit == "byte"
            assert block.mark.place == block.place + len(block.payload)
            assert block.place >= self.ends.get(block.part, 0) + block.unreadable_bytes
            self.ends[block.part] = block.mark.place
            records = block.records
            lines += [records[index] for index in range(len(records))]
        if commit:
            self.lines += lines
            self.blocks += blocks
            self.unreadable += sum(block.unreadable_bytes for block in blocks)
            marks = {block.part: block.mark for block in blocks}
            self.marks.update(marks)
            self.source.committed(list(marks.values()))
        else:
            self.source.resume(list(self.marks.values()))
            self.ends = {part: mark.place for part, mark in self.marks.items()}
        return lines

    def drain(self, seconds: float = 3) -> list[bytes]:
        """Poll until nothing comes although time passes."""
        before = len(self.lines)
        quiet = 0
        while quiet < 3:
            count = len(self.blocks)
            self.take()
            if len(self.blocks) == count:
                quiet += 1
                self.clock.turn(seconds)
        return self.lines[before:]


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def numbered(first: int, count: int, width: int = 40) -> str:
    return "".join(f"line {number:08d} {'x' * (width - 15)}\n" for number in range(first, first + count))


def split(text: str) -> list[bytes]:
    return [line.encode() for line in text.splitlines()]
