"""What every `Store` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from mulgil.errors import Missing
from mulgil.storage import LocalStore, MemoryStore, Store


@pytest.fixture(params=["memory", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Callable[[str], str]]:
    store: Store = MemoryStore() if request.param == "memory" else LocalStore()
    return store, lambda name: f"{tmp_path}/{name}"


Place = tuple[Store, Callable[[str], str]]


def test_what_was_put_is_read_back_whole_and_in_part(place: Place) -> None:
    store, at = place
    store.put(at("a/b/one"), b"0123456789")
    assert store.get(at("a/b/one")) == b"0123456789"
    assert store.read_range(at("a/b/one"), 2, 3) == b"234"
    assert store.read_range(at("a/b/one"), 8, 100) == b"89"
    assert store.read_range(at("a/b/one"), 100, 1) == b""
    assert store.size(at("a/b/one")) == 10
    assert store.exists(at("a/b/one"))


@pytest.mark.parametrize("data", [b"", bytearray(b"xy"), memoryview(b"xyz"), memoryview(pa.py_buffer(b"arrow"))])
def test_any_buffer_is_taken(place: Place, data: bytes) -> None:
    store, at = place
    store.put(at("x"), data)
    assert store.get(at("x")) == bytes(data)


def test_a_put_replaces(place: Place) -> None:
    store, at = place
    store.put(at("x"), b"long before")
    store.put(at("x"), b"after")
    assert store.get(at("x")) == b"after"


def test_several_files_are_put_at_once(place: Place) -> None:
    store, at = place
    files = [(at(f"{i % 3}/{i}"), str(i).encode() * 1000) for i in range(20)]
    store.put_all(files)
    store.put_all([])
    assert {path: store.get(path) for path, _ in files} == dict(files)


def test_what_is_not_there_is_missing(place: Place) -> None:
    store, at = place
    store.put(at("folder/file"), b"")
    for path in (at("none"), at("folder"), at("folder/file/below")):
        assert not store.exists(path)
        for act in (store.get, store.size, lambda path: store.read_range(path, 0, 1)):
            with pytest.raises(Missing):
                act(path)


def test_delete_is_no_error_when_gone(place: Place) -> None:
    store, at = place
    store.put(at("x"), b"1")
    store.delete(at("x"))
    store.delete(at("x"))
    assert not store.exists(at("x"))


def test_list_goes_by_prefix_through_folders(place: Place) -> None:
    store, at = place
    for name in ("b", "a/2", "a/1/x", "ab/3", "a.txt"):
        store.put(at(name), b"")
    assert list(store.list(at("a"))) == [at("a.txt"), at("a/1/x"), at("a/2"), at("ab/3")]
    assert list(store.list(at("a/"))) == [at("a/1/x"), at("a/2")]
    assert list(store.list(at(""))) == sorted(at(name) for name in ("b", "a/2", "a/1/x", "ab/3", "a.txt"))
    assert list(store.list(at("none/"))) == []


def test_a_written_file_is_visible_only_after_a_clean_close(place: Place) -> None:
    store, at = place
    with store.open_write(at("f/x")) as file:
        file.write(b"abc")
        file.write(memoryview(b"def"))
        assert file.tell() == 6
        assert not store.exists(at("f/x"))
        assert list(store.list(at(""))) == []
    assert store.get(at("f/x")) == b"abcdef"


def test_a_write_that_fails_leaves_what_was_there(place: Place) -> None:
    store, at = place
    store.put(at("x"), b"old")

    def break_off() -> None:
        with store.open_write(at("x")) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert store.get(at("x")) == b"old"
    assert list(store.list(at(""))) == [at("x")]
