"""Which generation each file on disk belongs to: renames, truncations, copies, compression and restarts sorted out.

`FilesSource` asks for a `scan` now and then. A file is known by device and inode; a file nobody knows is compared by
content with the generations whose beginnings equal its own, and is then one of four things:

- the place a lost generation went on to (moved, copied before it was truncated, compressed): it continues there;
- a copy of a generation that can still be read: put aside, so that nothing is read twice;
- a compressed file that still grows: put aside until it rests;
- new: a generation of its own.
"""
# Paths are strings: with 10,000 files pathlib costs more than the rest of a scan.
# ruff: noqa: PTH110, PTH118, PTH119, PTH120

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from mulgil.clock import Clock
from mulgil.errors import Invalid
from mulgil.ids import new_uuid
from mulgil.record import Mark
from mulgil.sources.files.generation import Generation, HeadKey, State
from mulgil.sources.files.globs import Found, Globs, neighbours
from mulgil.sources.files.identity import (
    CHECK_BYTES,
    HEAD_BYTES,
    birth_ns,
    digest,
    fingerprint,
    is_rotated_name,
    packing,
    stem,
)
from mulgil.sources.files.reader import PackedReader, Reader, Readers, open_reader
from mulgil.sources.files.settings import FilesSettings

SHORT_COPY_S = 60.0
"""A copy of less than `HEAD_BYTES` proves little: after this long beside its original it is a file of its own."""


class Folder:
    """All regular files of a folder, by inode and by the name they had before rotation."""

    def __init__(self, path: str) -> None:
        self.by_key: dict[tuple[int, int], Found] = {}
        self.by_stem: dict[str, list[Found]] = defaultdict(list)
        for file in neighbours(path):
            self.by_key[file.key] = file
            self.by_stem[stem(file.path)].append(file)


ALIKE_MAX = 64
"""So many generations of one name and one beginning are compared with a new file, the latest ones."""

PAST = 3
"""So many earlier fingerprints are kept: a copy that was made before the last reads is known by them."""


@dataclass(slots=True)
class Aside:
    """A file that is not read, for now."""

    file: Found
    since_s: float
    """monotonic: since when it has been unchanged"""
    of: Generation | None = None
    """the generation that it is a copy of"""
    state: State | None = None
    """that generation's state when they were compared"""
    place: int = 0
    """how much of it they were compared by"""


class Tracker:
    """All generations of a source, and the files they lie in."""

    def __init__(self, settings: FilesSettings, clock: Clock, readers: Readers) -> None:
        self.generations: dict[str, Generation] = {}
        self.active: dict[str, Generation] = {}
        """generations that may have something to hand out, in the order of their turns"""
        self.problems: dict[str, tuple[str, str]] = {}
        """path to what is wrong and a hint, as of the last scan"""
        self.hurry = False
        """nobody writes any more: waiting for files to settle is pointless"""
        self._settings = settings
        self._clock = clock
        self._readers = readers
        self._globs = Globs(settings.paths, settings.exclude)
        self._by_inode: dict[tuple[int, int], Generation] = {}
        self._lost_at: dict[tuple[int, int], list[Generation]] = defaultdict(list)
        self._by_head: dict[HeadKey, list[Generation]] = defaultdict(list)
        self._lengths: dict[int, int] = defaultdict(int)
        """how many of `_by_head` there are of each length"""
        self._newborn: set[str] = set()
        """parts that began in this scan: two files that appear together are not copies of each other"""
        self._asides: dict[tuple[int, int], Aside] = {}
        self._folders: dict[str, Folder] = {}
        self._searched: dict[str, Generation] = {}
        """lost generations that are still looked for"""
        self._first = True

    # -- what is known ------------------------------------------------------------------------------------------------

    def remember(self, marks: Iterable[Mark]) -> None:
        """Generations of an earlier run. They are found again by the next scan."""
        for mark in marks:
            self._first = False
            generation = Generation.of_mark(mark)
            generation.stirred_s = self._clock.monotonic_s()
            self.generations[mark.part] = generation
            self._lost_at[generation.key].append(generation)
            self._searched[generation.part] = generation
            self._index(generation)

    def forget(self, generation: Generation) -> None:
        """Know nothing of it any more."""
        self.lose(generation)
        self._unindex(generation)
        self._unlose(generation)
        self.generations.pop(generation.part, None)
        self.active.pop(generation.part, None)
        self._searched.pop(generation.part, None)

    def take_prints(self, generation: Generation, place: int, head: str, check: str) -> None:
        """Fingerprints at a new place."""
        same = generation.check_place >= HEAD_BYTES <= place and generation.head == head
        if not same:
            self._unindex(generation)
        if generation.check_place < place and generation.check_place:
            generation.past = ((generation.check_place, generation.check), *generation.past[: PAST - 1])
        elif generation.check_place > place:
            generation.past = ()
        generation.check_place, generation.head, generation.check = place, head, check
        if not same:
            self._index(generation)

    def refit(self, generation: Generation, reader: Reader) -> bool:
        """Move fingerprints that were taken elsewhere to `place`; False where the content is not the generation's."""
        if generation.check_place == generation.place:
            return True
        if compare(reader, generation) != "whole":
            return False
        prints = fingerprint(reader, generation.place)
        if prints is None:
            return False
        self.take_prints(generation, generation.place, *prints)
        return True

    def lose(self, generation: Generation) -> None:
        """Its bytes cannot be reached any more where they were."""
        if generation.state is not State.LOST:
            self._readers.close(generation)
            generation.state = State.LOST
            generation.rotated = True
            generation.stirred_s = self._clock.monotonic_s()
            self._by_inode.pop(generation.key, None)
            self._lost_at[generation.key].append(generation)
            self._searched[generation.part] = generation
            self.active.pop(generation.part, None)

    def _index(self, generation: Generation) -> None:
        if generation.check_place:
            generation.filed = generation.head_key
            self._by_head[generation.filed].append(generation)
            self._lengths[generation.filed[0]] += 1

    def _unindex(self, generation: Generation) -> None:
        if generation.filed is not None:
            found = self._by_head[generation.filed]
            found.remove(generation)
            if not found:
                del self._by_head[generation.filed]
            self._lengths[generation.filed[0]] -= 1
            generation.filed = None

    def _unlose(self, generation: Generation) -> None:
        found = self._lost_at[generation.key]
        found.remove(generation)
        if not found:
            del self._lost_at[generation.key]

    # -- a look at the folders ----------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Look through the folders once. Problems that were met are in `problems` afterwards."""
        now_s = self._clock.monotonic_s()
        self.problems = {}
        self._folders = {}
        self._newborn = set()
        files = self._globs.scan(self._report)
        strangers = []
        for key, file in files.items():
            generation = self._by_inode.get(key)
            if generation is None or not self._observe(generation, file, now_s):
                strangers.append(file)
        for generation in [one for key, one in self._by_inode.items() if key not in files]:
            self._look_around(generation, now_s)
        for key in [key for key, one in self._asides.items() if key not in files and not os.path.exists(one.file.path)]:
            del self._asides[key]
        for file in sorted(strangers, key=lambda file: (file.mtime_ns, file.path)):
            self._meet(file, now_s)
        for generation in list(self._searched.values()):
            self._search(generation, now_s)
        self._first = False

    def _report(self, path: str, what: str, hint: str) -> None:
        self.problems[path] = (what, hint)

    def _observe(self, generation: Generation, file: Found, now_s: float) -> bool:
        """Note what a known file looks like now; False where it was truncated and is another generation by now."""
        if generation.state is State.UNLINKED:
            generation.state = State.LIVE
        if generation.path != file.path:
            if self._readers.get(generation) is None and not self._still(generation, file):
                self.lose(generation)
                return False
            self._unindex(generation)
            generation.path = file.path
            self._index(generation)
            generation.rotated = True
            self.active[generation.part] = generation
        if (file.size, file.mtime_ns) == (generation.raw, generation.mtime_ns):
            return True
        if not generation.packing and file.size < generation.place:
            self.lose(generation)
            return False
        self.stir(generation, file.size, file.mtime_ns, now_s)
        return True

    def _still(self, generation: Generation, file: Found) -> bool:
        """Whether an inode under a new name holds the same file: it may have been freed and given out again."""
        birth = birth_ns(file.path)
        if birth and generation.birth_ns:
            return birth == generation.birth_ns
        try:
            reader = open_reader(file.path, generation.packing)
        except OSError:
            return False
        try:
            return compare(reader, generation) == "whole"
        except (OSError, Invalid):
            return False
        finally:
            os.close(reader.descriptor)

    def stir(self, generation: Generation, raw: int, mtime_ns: int, now_s: float) -> None:
        """A file changed on disk."""
        generation.raw, generation.mtime_ns = raw, mtime_ns
        generation.stirred_s = now_s
        generation.stuck = -1
        generation.waited = False
        if not generation.unread:
            generation.waiting_us = self._clock.now_us()
        if generation.packing:
            generation.done = False
            generation.size = generation.place + 1
        else:
            generation.size_before = generation.size
            generation.size = raw
            generation.suspect = raw == generation.place
        self.active[generation.part] = generation

    def _look_around(self, generation: Generation, now_s: float) -> None:
        """A known file has left the globs: by a rename inside its folder, or for good."""
        file = self._folder(generation).by_key.get(generation.key)
        if file is not None:
            if not self._observe(generation, file, now_s):
                self._meet(file, now_s, continue_only=True)
            return
        if generation.state is State.UNLINKED:
            return
        reader = self._readers.get(generation)
        if reader is None:
            self.lose(generation)
            return
        generation.state = State.UNLINKED
        generation.rotated = True
        self.active[generation.part] = generation

    def _folder(self, generation: Generation) -> Folder:
        path = generation.folder
        if path not in self._folders:
            self._folders[path] = Folder(path)
        return self._folders[path]

    # -- a file that nobody knows -------------------------------------------------------------------------------------

    def _meet(self, file: Found, now_s: float, *, continue_only: bool = False) -> bool:
        """Decide what a file is whose inode no generation holds; tells whether a generation lies in it now."""
        if file.size == 0:
            return False
        aside = self._asides.get(file.key)
        if aside is None or (aside.file.size, aside.file.mtime_ns) != (file.size, file.mtime_ns):
            aside = Aside(file, now_s)
        elif aside.of is not None and aside.of.state is aside.state:
            long_ago = now_s - aside.since_s >= SHORT_COPY_S and aside.of.check_place < HEAD_BYTES
            more_to_see = aside.place < HEAD_BYTES and aside.place != aside.of.check_place
            if not (long_ago or more_to_see):
                return False
        packed = packing(file.path)
        try:
            reader = open_reader(file.path, packed)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._report(file.path, f"cannot be opened: {error.strerror}", "give this process the right to read it")
            return False
        try:
            if os.fstat(reader.descriptor).st_ino != file.inode:
                return False  # replaced since it was listed: the next scan sees what it is
            return self._place(file, reader, aside, now_s, continue_only)
        except Invalid as error:
            self._report(file.path, error.what, error.hint)
            return False
        except OSError as error:
            self._report(file.path, f"cannot be read: {error.strerror}", "look at the disk")
            return False
        finally:
            os.close(reader.descriptor)

    def _place(self, file: Found, reader: Reader, aside: Aside, now_s: float, continue_only: bool) -> bool:
        birth = birth_ns(reader.descriptor)
        generation = self._at_inode(file, reader, birth)
        if generation is not None:
            return self._go_on(generation, file, reader, birth)
        if self._first and self._settings.start == "end":
            self._begin(file, reader, birth)
            return True
        if isinstance(reader, PackedReader) and not self._rests(file, aside, now_s):
            self._asides[file.key] = aside
            return False
        if self._stays_copy(file, reader, aside, now_s):
            return False
        for generation in self._like(file, reader):
            verdict = self._judge(file, reader, generation)
            if verdict == "continues":
                self._asides.pop(file.key, None)
                return self._go_on(generation, file, reader, birth)
            if verdict == "copy":
                short = generation.check_place < HEAD_BYTES and now_s - aside.since_s >= SHORT_COPY_S
                if not (short and generation.state is State.LIVE) and not continue_only:
                    aside.of, aside.state, aside.place = generation, generation.state, generation.check_place
                    self._asides[file.key] = aside
                    return False
        if continue_only:
            return False
        self._asides.pop(file.key, None)
        self._begin(file, reader, birth)
        return True

    def _rests(self, file: Found, aside: Aside, now_s: float) -> bool:
        settle_s = self._settings.settle_s
        if self.hurry or now_s - aside.since_s >= settle_s:
            return True
        return self._clock.now_us() - file.mtime_ns // 1000 > 2e6 * settle_s

    def _at_inode(self, file: Found, reader: Reader, birth: int) -> Generation | None:
        """The remembered generation that lay in this inode and whose content is still there."""
        best = None
        for generation in self._lost_at.get(file.key, ()):
            if birth and generation.birth_ns and birth != generation.birth_ns:
                continue
            if generation.closing or bool(generation.packing) != bool(packing(file.path)):
                continue
            if generation.done and generation.raw == file.size:
                head = reader.read(0, min(HEAD_BYTES, generation.check_place))
                same = digest(head) == generation.head
            else:
                same = compare(reader, generation) == "whole" and reaches(reader, generation.place)
            if same and (best is None or generation.place > best.place):
                best = generation
        return best

    def _like(self, file: Found, reader: Reader) -> list[Generation]:
        """Generations that have this file's stem and begin as it does, the lost ones first."""
        lengths = [length for length, count in self._lengths.items() if count]
        if self._first or not lengths:
            return []
        head = reader.read(0, max(lengths))
        name = stem(file.path)
        found: list[Generation] = []
        for length in lengths:
            if length <= len(head):
                found += self._by_head.get((length, digest(head[:length]), name), ())[-ALIKE_MAX:]
        known = [one for one in found if one.part not in self._newborn]
        return sorted(known, key=lambda one: (one.state is not State.LOST, -one.check_place))

    def _judge(self, file: Found, reader: Reader, generation: Generation) -> str:
        """Whether the file "continues" the generation, is a "copy" of it, or is "another"."""
        rotated = is_rotated_name(file.path, generation.path)
        if generation.state is not State.LOST:
            if not rotated:
                return "another"
            same = compare(reader, generation)
            copied = same == "whole" or (same == "shorter" and self._begins_like(file, reader, generation))
            return "copy" if copied else "another"
        alike = rotated or (
            generation.check_place >= HEAD_BYTES or (file.path == generation.path and file.device != generation.device)
        )
        if not alike or generation.closing:
            return "another"
        same = compare(reader, generation)
        if same == "whole":
            return "continues" if reaches(reader, generation.place) else "copy"
        return "copy" if same == "shorter" and rotated and is_stale(reader, generation) else "another"

    def _begins_like(self, file: Found, reader: Reader, generation: Generation) -> bool:
        """Whether a file that is shorter than a generation holds its first bytes, as a copy does while it is made."""
        if isinstance(reader, PackedReader):
            return False
        original = self._readers.open(generation)
        low = max(0, file.size - CHECK_BYTES)
        return original is not None and original.read(low, file.size - low) == reader.read(low, file.size - low)

    def _stays_copy(self, file: Found, reader: Reader, aside: Aside, now_s: float) -> bool:
        """Whether a file that was taken for a copy by a few bytes still looks like one, now that its original grew."""
        if aside.of is None or aside.of.state is not aside.state or aside.place == aside.of.check_place:
            return False
        if aside.of.check_place < HEAD_BYTES and now_s - aside.since_s >= SHORT_COPY_S:
            return False
        original = self._readers.open(aside.of)
        head = reader.read(0, CHECK_BYTES)
        if original is not None and original.read(0, len(head)) != head:
            return False
        aside.place = aside.of.check_place
        return True

    def _go_on(self, generation: Generation, file: Found, reader: Reader, birth: int) -> bool:
        """The generation lies in this file from now on."""
        if not (generation.done and generation.raw == file.size) and not self.refit(generation, reader):
            return False
        moved = (generation.key, generation.path) != (file.key, file.path)
        self._unlose(generation)
        self._searched.pop(generation.part, None)
        if generation.key != file.key or generation.raw != file.size or not generation.done:
            generation.done = False
            generation.size = max(file.size, generation.place) if not packing(file.path) else generation.place + 1
        self._unindex(generation)
        generation.rotated = generation.rotated or generation.path != file.path
        generation.path, generation.device, generation.inode, generation.birth_ns = (
            file.path,
            file.device,
            file.inode,
            birth,
        )
        generation.packing = packing(file.path)
        generation.raw, generation.mtime_ns = file.size, file.mtime_ns
        generation.state = State.LIVE
        generation.note = moved
        generation.stuck = -1
        generation.columns = None
        generation.stirred_s = self._clock.monotonic_s()
        generation.waiting_us = self._clock.now_us()
        self._by_inode[file.key] = generation
        self._index(generation)
        if generation.unread or generation.note:
            self.active[generation.part] = generation
        return True

    def _begin(self, file: Found, reader: Reader, birth: int) -> None:
        packed = packing(file.path)
        generation = Generation(
            part=new_uuid(),
            path=file.path,
            device=file.device,
            inode=file.inode,
            birth_ns=birth,
            packing=packed,
            size=1 if packed else file.size,
            raw=file.size,
            mtime_ns=file.mtime_ns,
            rotated=bool(packed) or self._is_old(file),
            stirred_s=self._clock.monotonic_s(),
            waiting_us=self._clock.now_us(),
        )
        if self._first and self._settings.start == "end":
            generation.start = -1 if packed else last_line_end(reader, file.size)
        self._to_start(generation)
        if not packed:  # so that it is known again, should it be compressed before it is read
            known = min(file.size, CHECK_BYTES)
            prints = fingerprint(reader, known)
            if prints is not None:
                self.take_prints(generation, known, *prints)
        if generation.start:
            self.refit(generation, reader)
        self.generations[generation.part] = generation
        self._newborn.add(generation.part)
        self._by_inode[file.key] = generation
        self.active[generation.part] = generation

    def _to_start(self, generation: Generation) -> None:
        """Stand where a generation without a stored position begins; where that is not 0 a mark has to say so."""
        generation.place = max(0, generation.start)
        generation.note = generation.start != 0
        if generation.start < 0:
            generation.done, generation.size = True, 0

    def _is_old(self, file: Found) -> bool:
        """Whether a new file was rotated before it was first seen: its name says so, and its log lies beside it."""
        log = stem(file.path)
        return log != os.path.basename(file.path) and os.path.exists(os.path.join(os.path.dirname(file.path), log))

    # -- a generation that is nowhere ---------------------------------------------------------------------------------

    def _search(self, generation: Generation, now_s: float) -> None:
        """Look for a lost generation beside its old place; after a while its unread bytes are counted as unreadable."""
        folder = self._folder(generation)
        here = folder.by_key.get(generation.key)
        for file in [here] * (here is not None) + folder.by_stem.get(stem(generation.path), []):
            if (
                file is not None
                and file.key not in self._by_inode
                and (file is here or is_rotated_name(file.path, generation.path))
                and self._meet(file, now_s, continue_only=True)
                and generation.state is State.LIVE
            ):
                return
        packed_soon = any(
            one.of is None and stem(one.file.path) == stem(generation.path) for one in self._asides.values()
        )
        if not packed_soon and (self.hurry or now_s - generation.stirred_s >= self._settings.settle_s):
            del self._searched[generation.part]
            generation.closing = generation.unread > 0
            if generation.closing:
                self.active[generation.part] = generation

    def rewind(self, generation: Generation, mark: Mark | None) -> None:
        """Stand where a mark says, or where the generation began."""
        generation.closing = False
        generation.columns = None
        generation.stuck = -1
        self.active[generation.part] = generation
        if generation.state is State.LOST:
            self._searched[generation.part] = generation
        if mark is not None and mark.place == generation.place:
            known = Generation.of_mark(mark)
            generation.note = (known.key, known.path) != (generation.key, generation.path)
            return
        if generation.packing and generation.state is not State.LOST:
            generation.done = False
            generation.size = max(0 if mark is None else mark.place, generation.place) + 1
        if mark is None:
            generation.cut = False
            self._to_start(generation)
        else:
            known = Generation.of_mark(mark)
            generation.place = mark.place
            generation.cut = known.cut
            self.take_prints(generation, known.check_place, known.head, known.check)
        generation.committed = generation.place


def compare(reader: Reader, generation: Generation) -> str:
    """Whether a file holds the "whole" content that the generation's fingerprints were taken of, is "shorter" (equal as
    far as can be seen), or is an "other"."""
    head = reader.read(0, min(HEAD_BYTES, generation.check_place))
    if len(head) < min(HEAD_BYTES, generation.check_place) or digest(head) != generation.head:
        return "other"
    low = max(0, generation.check_place - CHECK_BYTES)
    check = reader.read(low, generation.check_place - low)
    if len(check) < generation.check_place - low:
        return "shorter"
    return "whole" if digest(check) == generation.check else "other"


def is_stale(reader: Reader, generation: Generation) -> bool:
    """Whether a shorter file holds what the generation held at an earlier fingerprint."""
    for place, check in generation.past:
        low = max(0, place - CHECK_BYTES)
        data = reader.read(low, place - low)
        if len(data) == place - low:
            return digest(data) == check
    return False


def reaches(reader: Reader, place: int) -> bool:
    """Whether the file has all the bytes before `place`."""
    return place == 0 or bool(reader.read(place - 1, 1))


def last_line_end(reader: Reader, size: int) -> int:
    """Where the last whole line before `size` ends; 0 if there is none within 16 MiB."""
    step = 1 << 16
    high = size
    while high > 0 and size - high < 1 << 24:
        low = max(0, high - step)
        found = reader.read(low, high - low).rfind(b"\n")
        if found >= 0:
            return low + found + 1
        high = low
    return 0
