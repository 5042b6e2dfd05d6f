"""Recovery, damage, full and failing disks: on real files, cut and bent."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from mulgil.clock import TurnedClock
from mulgil.errors import Broken, Missing, Overloaded, Retry
from mulgil.stream.frame import HEADER_BYTES, Run
from mulgil.stream.segment import START
from mulgil.stream.settings import StreamSettings
from mulgil.stream.shard import Shard
from mulgil.stream.stream import Answer, Appended, Gap

CLOCK = TurnedClock()


def open_shard(folder: Path, segment_bytes: int = 4096, frame_bytes_max: int = 600, **more: object) -> Shard:
    settings = StreamSettings(segment_bytes=segment_bytes, disk_free_bytes_min=0, frame_bytes_max=frame_bytes_max)
    return Shard(folder / "shard", 0, settings, CLOCK, **more)  # type: ignore[arg-type]


def run_of(payload: bytes, key: str = "") -> Run:
    return Run(payload, payload.count(b"\n"), key, b"", lambda _: None, None)


def commit(shard: Shard, *payloads: bytes) -> list[Answer]:
    return [answer for _, answers in shard.commit([run_of(payload) for payload in payloads]) for answer in answers]


def contents(shard: Shard) -> dict[int, bytes]:
    """Every record that can be read, by sequence number."""
    found: dict[int, bytes] = {}
    sequence = shard.start
    while frames := shard.read(sequence, 3000):
        for frame in frames:
            assert frame.first >= sequence
            lines = frame.payload.splitlines()
            assert len(lines) == frame.count
            found |= dict(enumerate(lines, frame.first))
            sequence = frame.first + frame.count
    return found


def lost(shard: Shard) -> set[int]:
    return {sequence for gap in shard.gaps() for sequence in range(gap.first, gap.end)}


def fill(shard: Shard, groups: int, seed: int = 0) -> dict[int, bytes]:
    """Commit groups of a few records each; what is in the shard then."""
    chance = random.Random(seed)
    expected: dict[int, bytes] = {}
    for group in range(groups):
        payloads = []
        for _ in range(chance.randint(1, 4)):
            lines = [b"%d-%d" % (group, chance.randrange(10**6)) * chance.randint(1, 20) for _ in range(3)]
            payloads.append(b"".join(line + b"\n" for line in lines))
        for payload, answer in zip(payloads, commit(shard, *payloads), strict=True):
            assert isinstance(answer, Appended)
            expected |= dict(enumerate(payload.splitlines(), answer.first))
    return expected


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "shard").glob("*.seg"))


def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 40)
    shard.close()
    assert len(segments(tmp_path)) > 3
    again = open_shard(tmp_path)
    assert again.end == len(expected)
    assert contents(again) == expected
    assert again.gaps() == []
    again.close()


def test_a_segment_is_named_by_its_first_sequence_number_and_takes_its_space_at_once(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    fill(shard, 40)
    first, second = segments(tmp_path)[:2]
    assert (first.name, len(second.stem)) == ("00000000000000000000.seg", 20)
    assert shard.read(int(second.stem), 1)[0].first == int(second.stem)
    assert segments(tmp_path)[-1].stat().st_size == 4096
    shard.close()
    assert sum(path.stat().st_size for path in segments(tmp_path)) == shard.size_bytes() + HEADER_BYTES


def test_reading_anywhere_in_any_segment_finds_the_right_frame(tmp_path: Path) -> None:
    shard = open_shard(tmp_path, segment_bytes=300_000)
    for number in range(1500):
        commit(shard, b"%d %s\n" % (number, b"x" * (number % 700)))
    shard.close()
    again = open_shard(tmp_path, segment_bytes=300_000)
    chance = random.Random(7)
    for _ in range(300):
        sequence = chance.randrange(1500)
        frame = again.read(sequence, chance.choice([1, 5000, 100_000]))[0]
        assert frame.first == sequence
        assert frame.payload.startswith(b"%d " % sequence)
    again.close()


def test_a_torn_write_costs_nothing_that_was_acknowledged_at_any_byte(tmp_path: Path) -> None:
    """The last group is cut at every byte, with zeros behind as in a segment whose space was set aside."""
    shard = open_shard(tmp_path, segment_bytes=65536, frame_bytes_max=50)
    expected = fill(shard, 3)
    durable, position = shard.end, shard.size_bytes()
    commit(shard, b"last-a\n" * 6, b"last-b\n" * 7, b"last-c\n")
    written = shard.size_bytes()
    shard.close()
    whole = segments(tmp_path)[0].read_bytes()
    for cut in range(position, written):
        for zeros in (0, 300):
            segments(tmp_path)[0].write_bytes(whole[:cut] + bytes(zeros))
            torn = open_shard(tmp_path, segment_bytes=65536, frame_bytes_max=50)
            found = contents(torn)
            assert torn.end >= durable
            assert torn.gaps() == []
            assert not any(segments(tmp_path)[0].read_bytes()[torn.size_bytes() + HEADER_BYTES :])
            assert {k: v for k, v in found.items() if k < durable} == expected
            assert commit(torn, b"new\n") == [Appended(0, torn.end - 1, 1)]
            assert contents(torn) == found | {torn.end - 1: b"new"}
            torn.close()


def test_a_hole_in_a_write_that_was_never_acknowledged_is_cut_off(tmp_path: Path) -> None:
    """The disk may write a group's later frame and lose an earlier one: the later one proves nothing."""
    shard = open_shard(tmp_path, segment_bytes=65536)
    expected = fill(shard, 3)
    position = shard.size_bytes()
    commit(shard, b"a\n" * 300, b"b\n" * 300, b"c\n" * 300)  # three frames
    end = shard.size_bytes()
    shard.close()
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes()[:end])
    data[position : position + 100] = bytes(100)
    path.write_bytes(data)
    again = open_shard(tmp_path, segment_bytes=65536)
    assert contents(again) == expected
    assert again.gaps() == []
    assert again.end == len(expected)
    again.close()


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_is_a_gap_of_exactly_what_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    shard = open_shard(tmp_path)
    expected = fill(shard, 25, seed)
    shard.close()
    path = chance.choice(segments(tmp_path))
    data = bytearray(path.read_bytes())
    start = chance.randrange(START, len(data) - HEADER_BYTES)
    length = chance.choice([1, 1, 40, 700])
    for at in range(start, min(start + length, len(data) - HEADER_BYTES)):
        data[at] = chance.choice([0, 255, data[at] ^ (1 << chance.randrange(8))])
    changed = bytes(data) != path.read_bytes()
    path.write_bytes(data)

    again = open_shard(tmp_path)
    found = contents(again)
    assert again.end == len(expected)
    assert found.items() <= expected.items()
    assert lost(again) == expected.keys() - found.keys()
    assert bool(lost(again)) == changed
    for gap in again.gaps():
        assert gap.byte_first <= start + length
        assert gap.byte_end > start
        assert gap.file == str(path)
    assert commit(again, b"new\n") == [Appended(0, len(expected), 1)]
    again.close()

    once_more = open_shard(tmp_path)
    assert contents(once_more) == found | {len(expected): b"new"}
    once_more.close()


def test_damage_to_the_very_last_group_is_seen_after_closing_an_idle_moment_and_recovery(tmp_path: Path) -> None:
    for when in ("closed", "idle", "recovered"):
        shard = open_shard(tmp_path / when)
        commit(shard, b"a\n")
        commit(shard, b"b\n")
        position = shard.size_bytes()
        if when == "closed":
            shard.close()
        elif when == "idle":
            shard.mark_tail()
        else:
            crashed = tmp_path / "crashed"
            shutil.copytree(tmp_path / when, crashed)
            shard.close()
            shutil.rmtree(tmp_path / when)
            crashed.rename(tmp_path / when)
            shard = open_shard(tmp_path / when)
        copy = tmp_path / f"copy-{when}"
        shutil.copytree(tmp_path / when, copy)
        path = segments(copy)[0]
        data = bytearray(path.read_bytes())
        data[position - 1] ^= 1
        path.write_bytes(data)
        again = open_shard(copy)
        assert contents(again) == {0: b"a"}
        assert lost(again) == {1}
        assert again.end == 2
        again.close()
        shard.close()


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_damaged_segment_header_loses_nothing(tmp_path: Path, which: int) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 40)
    shard.close()
    path = segments(tmp_path)[which]
    data = bytearray(path.read_bytes())
    data[3:30] = b"\xaa" * 27
    path.write_bytes(data)
    again = open_shard(tmp_path)
    assert contents(again) == expected
    assert again.gaps() == []
    again.close()


def test_a_segment_file_that_was_cut_short_or_is_gone_is_a_gap(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 40)
    shard.close()
    _, second, third, fourth, *_ = segments(tmp_path)
    os.truncate(second, START + 10)
    third.unlink()
    again = open_shard(tmp_path)
    first, end = int(second.stem), int(fourth.stem)
    assert contents(again) == {k: v for k, v in expected.items() if not first <= k < end}
    assert lost(again) == set(range(first, end))
    again.close()


def test_bytes_of_a_producer_that_look_like_frames_are_never_taken_for_some(tmp_path: Path) -> None:
    """A payload repeats a whole segment; then the frame around it is damaged, so that it is searched."""
    shard = open_shard(tmp_path / "a", segment_bytes=65536)
    fill(shard, 5)
    shard.close()
    forged = segments(tmp_path / "a")[0].read_bytes()
    shard = open_shard(tmp_path / "b", segment_bytes=65536)
    commit(shard, b"a\n", forged + b"\n")
    commit(shard, b"b\n")
    shard.close()
    path = segments(tmp_path / "b")[0]
    data = bytearray(path.read_bytes())
    data[START + HEADER_BYTES + 2 + 20] ^= 1  # the second frame's header
    path.write_bytes(data)
    again = open_shard(tmp_path / "b", segment_bytes=65536)
    sequence = 1 + forged.count(b"\n") + 1
    assert [frame.first for frame in again.read(0, 100_000)] == [0, sequence]
    assert lost(again) == set(range(1, sequence))
    again.close()


@pytest.mark.parametrize("left", [b"", bytes(30), bytes(4096), b"MgSg" + bytes(20)])
def test_a_new_segment_that_was_only_half_made_is_made_again(tmp_path: Path, left: bytes) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 5)
    shard.close()
    (tmp_path / "shard" / f"{len(expected):020d}.seg").write_bytes(left)
    (tmp_path / "shard" / f"{len(expected) + 9:020d}.new").write_bytes(b"half")
    again = open_shard(tmp_path)
    assert again.end == len(expected)
    assert commit(again, b"new\n") == [Appended(0, len(expected), 1)]
    assert contents(again) == expected | {len(expected): b"new"}
    again.close()
    assert not list((tmp_path / "shard").glob("*.new"))


def test_opening_reads_only_the_last_segment(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 40)
    shard.close()
    for path in segments(tmp_path)[:-1]:
        path.write_bytes(b"\xaa" * path.stat().st_size)
    again = open_shard(tmp_path)
    assert again.gaps() == []
    assert again.end == len(expected)
    last = int(segments(tmp_path)[-1].stem)
    assert contents(again) == {k: v for k, v in expected.items() if k >= last}
    assert lost(again) == set(range(last))
    again.close()


class Disk:
    """A sync that fails when told to."""

    def __init__(self) -> None:
        self.failing = 0
        self.error = errno.EIO

    def sync(self, file: int) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError(self.error, os.strerror(self.error))
        os.fdatasync(file)


@pytest.mark.parametrize("before", [0, 3])
def test_after_a_failed_sync_nothing_is_acknowledged_and_the_shard_goes_on_in_a_new_segment(
    tmp_path: Path, before: int
) -> None:
    disk = Disk()
    shard = open_shard(tmp_path, sync=disk.sync)
    expected = fill(shard, before)
    disk.failing = 1
    answers = commit(shard, b"x\n", b"y\n", b"z" * 500 + b"\n", b"z" * 500 + b"\n")
    assert [type(answer) for answer in answers] == [Retry] * 4
    assert shard.end == len(expected)
    assert contents(shard) == expected
    assert commit(shard, b"x\n") == [Appended(0, len(expected), 1)]
    assert segments(tmp_path)[-1].name == f"{len(expected):020d}.seg"
    expected[len(expected)] = b"x"
    assert contents(shard) == expected
    shard.close()
    again = open_shard(tmp_path)
    assert contents(again) == expected
    assert again.gaps() == []
    again.close()


def test_what_a_failed_write_left_behind_never_comes_back(tmp_path: Path) -> None:
    """The failed frames are whole in the old file, as if they could not be cut off: the new segment has the right."""
    disk = Disk()
    shard = open_shard(tmp_path, sync=disk.sync)
    commit(shard, b"kept\n")
    disk.failing = 1
    commit(shard, b"failed\n" * 3)
    old = segments(tmp_path)[0]
    left = old.read_bytes()
    assert b"failed" in left
    commit(shard, b"again\n")
    old.write_bytes(left)
    shard.close()
    again = open_shard(tmp_path)
    assert contents(again) == {0: b"kept", 1: b"again"}
    assert again.gaps() == []
    again.close()


def test_damage_before_what_a_failed_write_left_behind_is_a_gap_up_to_the_next_segment(tmp_path: Path) -> None:
    disk = Disk()
    shard = open_shard(tmp_path, sync=disk.sync)
    commit(shard, b"kept\n")
    position = shard.size_bytes()
    disk.failing = 1
    commit(shard, b"failed\n" * 80, b"failed\n" * 80)  # two frames
    old = segments(tmp_path)[0]
    left = bytearray(old.read_bytes())
    left[START : START + HEADER_BYTES] = left[position : position + HEADER_BYTES] = bytes(HEADER_BYTES)
    commit(shard, b"again\n")
    old.write_bytes(left)
    shard.close()
    again = open_shard(tmp_path)
    assert contents(again) == {1: b"again"}
    assert lost(again) == {0}
    again.close()


def test_opening_and_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    commit(shard, b"a\n")
    size = shard.size_bytes()
    for _ in range(5):
        shard.close()
        shard = open_shard(tmp_path)
        assert shard.size_bytes() == size
    shard.close()


def test_damage_that_a_failed_sync_did_to_the_last_group_is_reported(tmp_path: Path) -> None:
    disk = Disk()
    shard = open_shard(tmp_path, sync=disk.sync)
    commit(shard, b"a\n")
    commit(shard, b"b\n")
    with segments(tmp_path)[0].open("r+b") as file:
        file.seek(shard.size_bytes() - 1)
        file.write(b"?")
    disk.failing = 1
    commit(shard, b"c\n")
    commit(shard, b"c\n")
    assert lost(shard) == {1}
    assert contents(shard) == {0: b"a", 2: b"c"}
    shard.close()


def test_a_full_disk_that_shows_only_at_the_sync_is_an_overload(tmp_path: Path) -> None:
    disk = Disk()
    shard = open_shard(tmp_path, sync=disk.sync)
    disk.failing, disk.error = 1, errno.ENOSPC
    assert isinstance(commit(shard, b"a\n")[0], Overloaded)
    assert shard.full
    assert commit(shard, b"a\n") == [Appended(0, 0, 1)]
    assert contents(shard) == {0: b"a"}
    shard.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize("segment_bytes", [4096, 10_000_000])
def test_a_full_disk_refuses_loses_nothing_and_recovers(tmp_path: Path, segment_bytes: int) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k none {mount} 2>/dev/null"):
        pytest.skip("this root may not mount")
    try:
        shard = open_shard(mount, segment_bytes)
        expected: dict[int, bytes] = {}
        refused = 0
        for number in range(150):
            lines = [b"%d-%d-" % (number, i) + b"x" * 900 for i in range(5)]
            for line, answer in zip(lines, commit(shard, *(line + b"\n" for line in lines)), strict=True):
                if isinstance(answer, Appended):
                    expected[answer.first] = line
                else:
                    assert isinstance(answer, Overloaded)
                    refused += 1
                    if segment_bytes > 100_000:
                        assert segments(mount)[0].stat().st_size == shard.size_bytes()  # the torn bytes are cut off
        assert refused > 100
        assert len(expected) > 100
        assert contents(shard) == expected
        if segment_bytes > 100_000:  # one segment: nothing can be deleted, but a neighbour can make room
            shard.close()
            os.system(f"mount -o remount,size=2m {mount}")
            shard = open_shard(mount, segment_bytes)
        else:
            for _ in range(3):
                oldest = shard.oldest(None)
                assert oldest is not None
                shard.delete(oldest)
                expected = {k: v for k, v in expected.items() if k >= shard.start}
        assert shard.has_room()
        assert commit(shard, b"after\n") == [Appended(0, max(expected) + 1, 1)]
        expected[max(expected) + 1] = b"after"
        assert contents(shard) == expected
        shard.close()
        again = open_shard(mount, segment_bytes)
        assert contents(again) == expected
        assert again.gaps() == []
        again.close()
    finally:
        os.system(f"umount {mount}")


def test_a_file_that_somebody_took_away_is_a_gap(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 40)
    shard.close()
    again = open_shard(tmp_path)
    first, second, *_ = segments(tmp_path)
    first.unlink()
    assert contents(again) == {k: v for k, v in expected.items() if k >= int(second.stem)}
    assert lost(again) == set(range(int(second.stem)))
    oldest = again.oldest(None)
    assert oldest is not None
    again.delete(oldest)
    assert again.delete(oldest) == 0
    assert again.start == int(second.stem)
    assert lost(again) == set()
    with pytest.raises(Missing):
        again.read(0, 100)
    again.close()


def test_a_disk_that_fails_to_read_is_asked_again_and_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = open_shard(tmp_path)
    expected = fill(shard, 5)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        with pytest.raises(Retry):
            shard.read(0, 100)
    assert contents(shard) == expected
    assert shard.gaps() == []
    shard.close()


def test_a_folder_that_cannot_be_made_is_broken(tmp_path: Path) -> None:
    (tmp_path / "shard").write_text("a file")
    with pytest.raises(Broken, match="cannot be opened"):
        open_shard(tmp_path)


def test_gaps_name_file_bytes_and_sequence_numbers(tmp_path: Path) -> None:
    shard = open_shard(tmp_path)
    commit(shard, b"a\n")
    start = shard.size_bytes()
    commit(shard, b"b\nc\n")
    end = shard.size_bytes()
    commit(shard, b"d\n")
    path = segments(tmp_path)[0]
    with path.open("r+b") as file:
        file.seek(start + HEADER_BYTES)
        file.write(b"?")
    assert contents(shard) == {0: b"a", 3: b"d"}
    assert shard.gaps() == [Gap(0, str(path), start, end, 1, 3)]
    shard.close()
