"""Log files as a source that can be replayed: `FilesSource`, polled by delivery and by the agent.

A part is one file's life (`Generation`), a place a byte offset in it; `Tracker` knows which file is which. Blocks with
an empty payload carry a mark (a file found again under another name), `unreadable_bytes`, or both.
"""
# Paths are strings: with 10,000 files pathlib costs more than the rest of a scan.
# ruff: noqa: PTH112

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mulgil.clock import Clock
from mulgil.errors import Invalid
from mulgil.record import Block, Lag, Mark
from mulgil.sources.files.cutting import NULS_MIN, Cut, cut_lines, cut_multiline, nuls, split_between_lines
from mulgil.sources.files.generation import Generation, State
from mulgil.sources.files.identity import CHECK_BYTES, HEAD_BYTES, digest, fingerprint
from mulgil.sources.files.reader import PackedReader, Reader, Readers
from mulgil.sources.files.settings import FilesSettings, line_start
from mulgil.sources.files.tracker import Tracker

HOT_S = 5.0
"""A file that changed within this is looked at in every poll, others at every scan."""
TURN_BYTES = 1 << 16
"""At least this much of a file is read at a turn."""
SCAN_SHARE = 0.05
"""Of the time, at most, goes into looking through folders."""
READ_BYTES = 4 << 20
"""At most this much at a time: what is read stays in the processor's cache until it is parsed."""
HEADER_BYTES_MAX = 1 << 20
RETRY_S = 5.0
"""A file that could not be opened or read is tried again after this."""


class FilesSource:
    """Tails globs. Fills `mulgil.record.Source`; used by one thread, but for `lag` and `problems`."""

    def __init__(self, settings: FilesSettings, clock: Clock) -> None:
        self.name = settings.name
        self._settings = settings
        self._clock = clock
        self._readers = Readers(settings.open_max)
        self._tracker = Tracker(settings, clock, self._readers)
        self._pattern = line_start(settings.multiline) if settings.multiline else None
        self._scan_s = float("-inf")
        self._unread_reasons: dict[str, tuple[str, str, str]] = {}
        self._resumed = False

    # -- the contract -------------------------------------------------------------------------------------------------

    def resume(self, marks: Sequence[Mark]) -> None:
        """Start after these positions. Open descriptors are kept, so that deleted files are read to their end."""
        by_part = {mark.part: mark for mark in marks}
        known = self._tracker.generations
        if self._resumed:
            for generation in known.values():
                self._tracker.rewind(generation, by_part.get(generation.part))
        self._resumed = True
        self._tracker.remember(mark for mark in marks if mark.part not in known)
        self._scan_s = float("-inf")

    def poll(self, bytes_max: int) -> list[Block]:
        """What is new, every file in its turn. Raises nothing for a file's sake: see `problems`."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._scan_s:
            self._tracker.scan()
            cost_s = self._clock.monotonic_s() - now_s
            self._scan_s = now_s + max(self._settings.scan_interval_s, cost_s / SCAN_SHARE)
        active = self._tracker.active
        blocks: list[Block] = []
        left = bytes_max
        progress = True
        while progress and left > 0 and active:
            progress = False
            busy = sum(1 for one in active.values() if one.size > one.place)
            turn = max(TURN_BYTES, left // max(1, busy))
            for generation in list(active.values()):
                if left <= 0:
                    break
                block = self._turn(generation, min(turn, max(left, TURN_BYTES)), now_s)
                active.pop(generation.part, None)
                if block is not None:
                    blocks.append(block)
                    left -= len(block.payload)
                    progress = True
                if block is not None or self._stays_active(generation, now_s):
                    active[generation.part] = generation
        return blocks

    def committed(self, marks: Sequence[Mark]) -> None:
        """These positions are stored: descriptors that only waited for that are closed."""
        for mark in marks:
            generation = self._tracker.generations.get(mark.part)
            if generation is not None:
                generation.committed = max(generation.committed, mark.place)

    def lag(self) -> Lag:
        """Bytes between what is committed and the known ends; of a compressed file, at least one."""
        waiting = [one for one in list(self._tracker.generations.values()) if one.size > one.committed]
        return Lag(
            waiting_bytes=sum(one.size - one.committed for one in waiting),
            oldest_us=min((one.waiting_us for one in waiting), default=None),
        )

    def close(self) -> None:
        """Close all descriptors."""
        self._readers.close_all()

    # -- beyond the contract ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Nobody waits for more (`run --once`): unended last lines and last multi-line records of files that did not
        change for `partial_after_s` are records from now on, and nothing else waits for files to settle."""
        self._tracker.hurry = True
        self._scan_s = float("-inf")
        for generation in self._tracker.generations.values():
            if generation.unread:
                generation.stuck = -1
                self._tracker.active[generation.part] = generation

    def problems(self) -> list[tuple[str, str, str]]:
        """Files that cannot be read now: path, what is wrong, hint. The others are read on."""
        found = [(path, what, hint) for path, (what, hint) in self._tracker.problems.items()]
        return sorted({*found, *list(self._unread_reasons.values())})

    def forgettable(self, marks: Iterable[Mark]) -> list[str]:
        """Parts whose file is nowhere and whose last mark is older than `forget_after_days`, while their folder is
        there. Delete their positions, then call `forget`."""
        limit_us = self._clock.now_us() - int(self._settings.forget_after_days * 86_400e6)
        parts = []
        for mark in marks:
            generation = self._tracker.generations.get(mark.part)
            if (
                generation is not None
                and generation.state is State.LOST
                and not generation.unread
                and generation.marked_us < limit_us
                and os.path.isdir(generation.folder)
            ):
                parts.append(mark.part)
        return parts

    def forget(self, parts: Iterable[str]) -> None:
        """Know nothing of these parts any more: their content, should it come back, is new."""
        for part in parts:
            generation = self._tracker.generations.get(part)
            if generation is not None:
                self._tracker.forget(generation)

    # -- one file's turn ----------------------------------------------------------------------------------------------

    def _turn(self, generation: Generation, budget: int, now_s: float) -> Block | None:
        if generation.closing:
            return self._close_lost(generation)
        if generation.state is State.LOST or generation.retry_s > now_s:
            return self._noted(generation)
        try:
            self._glance(generation, now_s)
            if not self._worth_reading(generation, now_s):
                return self._noted(generation)
            reader = self._readers.open(generation)
            if reader is None:
                self._tracker.lose(generation)
                self._scan_s = float("-inf")
                return None
            self._unread_reasons.pop(generation.part, None)
            block = self._read(generation, reader, budget, now_s)
        except FileNotFoundError:
            self._scan_s = float("-inf")  # renamed or deleted since it was seen
            return None
        except OSError as error:
            self._unreadable(generation, now_s, f"cannot be read: {error.strerror}", "give this process the right to")
            return None
        except Invalid as error:
            self._unreadable(generation, now_s, error.what, error.hint)
            return None
        return block if block is not None else self._noted(generation)

    def _glance(self, generation: Generation, now_s: float) -> None:
        """See at once what an open file's size is."""
        reader = self._readers.get(generation)
        if reader is None or generation.packing:
            return
        status = os.fstat(reader.descriptor)
        if (status.st_size, status.st_mtime_ns) != (generation.raw, generation.mtime_ns):
            if status.st_size < generation.place:
                self._tracker.lose(generation)
                self._scan_s = float("-inf")
            else:
                self._tracker.stir(generation, status.st_size, status.st_mtime_ns, now_s)

    def _worth_reading(self, generation: Generation, now_s: float) -> bool:
        if generation.state is State.LOST:
            return False
        if generation.suspect:
            return True
        if not generation.unread:
            if (
                generation.state is State.UNLINKED
                and generation.committed >= generation.place
                and now_s - generation.stirred_s >= self._settings.idle_close_s
            ):
                self._tracker.lose(generation)
            return False
        return generation.stuck != generation.size or (not generation.waited and self._is_quiet(generation, now_s))

    def _is_quiet(self, generation: Generation, now_s: float) -> bool:
        """Whether what is left is whole because nothing was added for a while."""
        if generation.packing:
            return generation.done
        if not (generation.rotated or self._pattern is not None or self._tracker.hurry):
            return False
        quiet_s = self._settings.partial_after_s
        if now_s - generation.stirred_s >= quiet_s:
            return True
        return self._tracker.hurry and self._clock.now_us() - generation.mtime_ns // 1000 >= 1e6 * quiet_s

    def _stays_active(self, generation: Generation, now_s: float) -> bool:
        if generation.state is State.LOST:
            return generation.closing
        if generation.unread or generation.note or generation.state is State.UNLINKED:
            return True
        if now_s - generation.stirred_s < HOT_S:
            return True
        if now_s - generation.stirred_s < self._settings.idle_close_s:
            return self._readers.get(generation) is not None
        self._readers.close(generation)
        return False

    def _unreadable(self, generation: Generation, now_s: float, what: str, hint: str) -> None:
        self._readers.close(generation)
        self._unread_reasons[generation.part] = (generation.path, what, hint)
        generation.retry_s = now_s + RETRY_S

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, generation: Generation, reader: Reader, budget: int, now_s: float) -> Block | None:
        if not self._tracker.refit(generation, reader):
            self._other_content(generation)
            return None
        if not self._past_header(generation, reader, now_s):
            return None
        record_max = self._settings.record_bytes_max
        want = min(budget, record_max, READ_BYTES)
        while True:
            low = max(0, generation.place - CHECK_BYTES)
            first = generation.place - low
            buffer = reader.read(low, first + want)
            if digest(buffer[:first]) != generation.check:
                self._other_content(generation)
                return None
            generation.suspect = False
            at_end = len(buffer) < first + want
            if at_end and isinstance(reader, PackedReader) and reader.ended:
                generation.note = generation.note or not generation.done
                generation.done = True
            if generation.cut:
                return self._skip_line(generation, buffer, low, first)
            run = nuls(buffer, first)
            if run is not None and run[0] == first:
                return self._skip_nuls(generation, buffer, low, run, at_end, now_s)
            found = self._cut(generation, buffer if run is None else buffer[: run[0]], first, at_end, run, now_s)
            if found.end > first:
                return self._hand_out(generation, buffer, low, first, found.end, found.starts)
            length = len(buffer) - first
            if length > record_max:
                return self._hand_out_long(generation, buffer, low, first)
            if at_end:
                self._wait(generation, reader, length, now_s)
                return None
            want = min(max(want, length) * 4, record_max + 1)

    def _cut(
        self,
        generation: Generation,
        buffer: bytes,
        first: int,
        at_end: bool,
        run: tuple[int, int] | None,
        now_s: float,
    ) -> Cut:
        quiet = at_end and run is None and (generation.done or self._is_quiet(generation, now_s))
        last = (quiet and (generation.rotated or self._tracker.hurry)) or run is not None
        if self._pattern is None:
            return cut_lines(buffer, first, last)
        return cut_multiline(buffer, first, self._pattern, quiet or run is not None, last)

    def _wait(self, generation: Generation, reader: Reader, length: int, now_s: float) -> None:
        """Nothing whole: until the file changes, or is quiet for long enough."""
        if isinstance(reader, PackedReader):
            if reader.ended:
                generation.size = generation.place + length
                return
            generation.size = generation.place + max(1, length)
            self._unread_reasons[generation.part] = (
                generation.path,
                "ends in the middle",
                "is it still being written?",
            )
        generation.stuck = generation.size
        generation.waited = self._is_quiet(generation, now_s)

    def _hand_out(
        self,
        generation: Generation,
        buffer: bytes,
        low: int,
        first: int,
        end: int,
        starts: npt.NDArray[np.int64] | None = None,
        unreadable: int = 0,
    ) -> Block:
        place = generation.place
        self._advance(generation, buffer, low, end)
        return self._block(generation, place, buffer[first:end], starts, unreadable)

    def _hand_out_long(self, generation: Generation, buffer: bytes, low: int, first: int) -> Block:
        """A record longer than the limit: a multi-line one is split between lines, a line is cut."""
        end = first + self._settings.record_bytes_max
        starts = None
        if self._pattern is not None:
            found = split_between_lines(buffer[:end], first)
            if found.end > first:
                return self._hand_out(generation, buffer, low, first, found.end, found.starts)
            starts = found.starts
        generation.cut = True
        return self._hand_out(generation, buffer, low, first, end, starts)

    def _skip_line(self, generation: Generation, buffer: bytes, low: int, first: int) -> Block | None:
        """Count the rest of a line that was cut."""
        end = buffer.find(b"\n", first) + 1
        generation.cut = end == 0
        end = end or len(buffer)
        if end == first:
            generation.stuck = generation.size
            return None
        self._advance(generation, buffer, low, end)
        return self._block(generation, generation.place, b"", None, end - first)

    def _skip_nuls(
        self, generation: Generation, buffer: bytes, low: int, run: tuple[int, int], at_end: bool, now_s: float
    ) -> Block | None:
        """Count NULs where a line should begin; at the end of a file they may be a hole that is still to be filled."""
        first, end = run
        ended = generation.done or (generation.rotated and self._is_quiet(generation, now_s))
        if at_end and end == len(buffer) and not ended:
            generation.stuck = generation.size
            generation.waited = self._is_quiet(generation, now_s)
            return None
        if not at_end and end == len(buffer) and end - first > NULS_MIN:
            end -= NULS_MIN  # so that what follows is known for the same run
        self._advance(generation, buffer, low, end)
        return self._block(generation, generation.place, b"", None, end - first)

    def _advance(self, generation: Generation, buffer: bytes, low: int, end: int) -> None:
        """Stand at `buffer[end]`, with fingerprints to know the place by. `buffer` begins at `low` of the file."""
        place = low + end
        head = generation.head
        if generation.check_place < HEAD_BYTES:  # then low is 0
            head = digest(buffer[: min(HEAD_BYTES, place)])
        check = digest(buffer[max(0, end - CHECK_BYTES) : end])
        self._tracker.take_prints(generation, place, head, check)
        generation.place = place
        generation.stuck = -1
        if generation.packing:
            generation.size = place if generation.done and end == len(buffer) else place + 1
        generation.size = max(generation.size, place)

    def _past_header(self, generation: Generation, reader: Reader, now_s: float) -> bool:
        """Read the header line of a file that has one; False while it is not whole."""
        if not self._settings.header or generation.columns is not None:
            return True
        text = reader.read(0, HEADER_BYTES_MAX)
        end = text.find(b"\n") + 1
        if not end:
            long = len(text) == HEADER_BYTES_MAX
            if not text or not (long or generation.packing or self._is_quiet(generation, now_s)):
                generation.stuck = generation.size
                return False
            end = len(text)
        generation.columns = self._settings.format.fields or columns(text[:end], self._settings)
        if generation.place < end:
            prints = fingerprint(reader, end)
            if prints is not None:
                self._tracker.take_prints(generation, end, *prints)
            generation.place = end
            generation.size = max(generation.size, end)
        return True

    def _other_content(self, generation: Generation) -> None:
        """The bytes before `place` are not those that were read: truncated and written anew, or another file."""
        generation.size = max(generation.place, generation.size_before)
        self._tracker.lose(generation)
        self._scan_s = float("-inf")

    def _close_lost(self, generation: Generation) -> Block:
        """Account for what a lost generation still had."""
        unread = generation.unread
        generation.place = generation.size
        generation.closing = False
        return self._block(generation, generation.place, b"", None, unread)

    def _noted(self, generation: Generation) -> Block | None:
        """A mark alone, where a generation's identity changed."""
        if not generation.note:
            return None
        return self._block(generation, generation.place, b"", None, 0)

    def _block(
        self,
        generation: Generation,
        place: int,
        payload: bytes,
        starts: npt.NDArray[np.int64] | None,
        unreadable: int,
    ) -> Block:
        now_us = self._clock.now_us()
        form = None
        if generation.columns is not None:
            form = replace(self._settings.format, fields=generation.columns, header=False)
        return Block(
            part=generation.part,
            unit="byte",
            place=place,
            payload=payload,
            arrived_us=now_us,
            mark=generation.mark(now_us),
            starts=starts,
            format=form,
            unreadable_bytes=unreadable,
            origin=generation.path,
        )


def columns(line: bytes, settings: FilesSettings) -> tuple[str, ...]:
    """The names in a header line; unnamed columns are called by their number. Raises `Invalid` without any name."""
    text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip("\r\n")
    delimiter = settings.format.delimiter or ("\t" if settings.format.kind == "tsv" else ",")
    names = next(csv.reader([text], delimiter=delimiter), [])
    if not any(name.strip() for name in names):
        raise Invalid("has an empty line where its header should be", hint="give `fields:` if it has no header")
    return tuple(name.strip() or f"column{number}" for number, name in enumerate(names, 1))
