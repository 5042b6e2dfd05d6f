"""JSON records: rows line up with records, nothing is dropped, one bad record hurts nobody else."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulgil.delivery.decode import Decoded, decoder
from mulgil.errors import Invalid
from mulgil.record import Records
from mulgil.schema import RESCUED, Format

TIME = pa.timestamp("us", "UTC")


def decode(lines: list[bytes] | bytes, columns: dict[str, Any] | None = None, **rules: Any) -> Decoded:
    data = lines if isinstance(lines, bytes) else b"\n".join(lines) + b"\n"
    records = Records.of_lines(data)
    given_rules = {"declared": {}, "time": None, "strict": False} | rules
    done = decoder(Format("json"), pa.schema(list((columns or {}).items())), **given_rules).decode(records)
    assert len(done.index) + len(done.bad) == len(records)
    assert done.rows.num_rows == len(done.index)
    done.rows.validate(full=True)
    assert sorted([*done.index.tolist(), *(one.index for one in done.bad)]) == list(range(len(records)))
    for name, kind in (columns or {}).items():
        assert pa.types.is_struct(kind) or done.rows.schema.field(name).type == kind
    return done


def rows(done: Decoded) -> list[dict[str, Any]]:
    """Rows without their nulls, `_rescued` parsed."""
    found = []
    for row in done.rows.to_pylist():
        kept = {name: value for name, value in row.items() if value is not None}
        if RESCUED in kept:
            kept[RESCUED] = json.loads(kept[RESCUED])
        found.append(kept)
    return found


def reasons(done: Decoded) -> dict[int, str]:
    return {one.index: one.reason for one in done.bad}


def test_new_keys_become_columns_of_the_types_that_json_has() -> None:
    done = decode([b'{"n":1,"f":1.5,"b":true,"s":"x","o":{"x":1},"l":[1,2],"z":null}'])
    assert {one.name: str(one.type) for one in done.rows.schema} == {
        "n": "int64", "f": "double", "b": "bool", "s": "string", "o": "struct<x: int64>", "l": "list<item: int64>",
    }  # fmt: skip
    assert ("n", "added") in [(one.column, one.kind) for one in done.events]


def test_texts_that_look_like_times_stay_texts() -> None:
    done = decode([b'{"day":"2026-01-01","o":{"l":["2026-01-01T00:00:00"]}}'])
    assert rows(done) == [{"day": "2026-01-01", "o": {"l": ["2026-01-01T00:00:00"]}}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nope", "not JSON"),
        (b'{"a":1', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"   ", "not JSON: blank"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":-Infinity}', "not JSON"),
        (b'{"o":{"f":NaN}}', "not JSON"),
        (b'{"a":1} {"a":2}', "trailing"),
        (b'{"a":1} null {"b":2}', "trailing"),
        (b'{"a":1,"a":2}', "the key 'a' stands twice"),
        (b'{"a":"x","a":2}', "the key 'a' stands twice"),
        (b'{"o":{"k":1,"k":null}}', "the key 'k' stands twice"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"s":"\\ud800"}', "not JSON"),
        (b'{"s":"\x01"}', "not JSON"),
        (b'{"s":"\x00"}', "not JSON"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested deeper than 32"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested deeper than 32"),
        (b'{"f":1e400}', "out of range"),
    ],
)
def test_what_is_no_object_is_bad_and_its_neighbours_survive(line: bytes, reason: str) -> None:
    done = decode([b'{"a":1}', line, b'{"a":2}'], {"a": pa.int64()})
    assert list(reasons(done)) == [1]
    assert reason in reasons(done)[1]
    assert rows(done) == [{"a": 1}, {"a": 2}]


def test_brackets_in_texts_are_no_depth() -> None:
    text = "[" * 500
    assert rows(decode([b'{"s":"' + text.encode() + b'\\"["}'])) == [{"s": text + '"['}]


def test_spaces_and_a_byte_order_mark_around_an_object_are_no_harm() -> None:
    done = decode(b'\xef\xbb\xbf{"a":1}\r\n\t {"a":2} \r\n\r\n{"a":3}')
    assert rows(done) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_an_object_over_several_lines_is_one_record() -> None:
    data = b'{"a":\n 1}\n{"a"\n:2}\n'
    records = Records(data, np.array([0, 10]), np.array([9, 18]))
    done = decoder(Format("json"), pa.schema([]), declared={}, time=None, strict=False).decode(records)
    assert rows(done) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), b'"x"'),
        (pa.int64(), b"1.5"),
        (pa.int64(), b"9223372036854775808"),
        (pa.int64(), b"[1]"),
        (pa.int64(), b'{"x": 1}'),
        (pa.int64(), b"true"),
        (pa.string(), b"1"),
        (pa.string(), b'{"x": 1}'),
        (pa.bool_(), b'"true"'),
        (pa.float64(), b'"1.5"'),
        (pa.float64(), b"9007199254740993"),
        (pa.list_(pa.int64()), b'[1, "x"]'),
        (pa.list_(pa.int64()), b"[1, 2.5]"),
        (pa.struct([("x", pa.int64())]), b'{"x": "1"}'),
        (pa.struct([("x", pa.int64())]), b"[]"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_value_of_another_type_is_rescued_as_it_was_written(kind: pa.DataType, value: bytes, alone: bool) -> None:
    lines = [b'{"v":%s,"k":1}' % value] if alone else [b'{"k":0}', b'{"v":%s,"k":1}' % value, b'{"v":null,"k":2}']
    done = decode(lines, {"v": kind, "k": pa.int64()})
    assert {"k": 1, RESCUED: {"v": json.loads(value)}} in rows(done)
    assert not done.bad
    assert done.rescued == 1
    assert value.decode() in next(text for text in done.rows[RESCUED].to_pylist() if text)
    assert [one.column.split(".")[0] for one in done.events] == ["v"]


def test_a_column_that_changed_its_type_for_good_is_rescued_as_a_whole() -> None:
    done = decode([b'{"n":"%d","k":%d}' % (one, one) for one in range(5_000)], {"n": pa.int64(), "k": pa.int64()})
    assert done.rescued == 5_000
    assert rows(done)[4_999] == {"k": 4_999, RESCUED: {"n": "4999"}}


def test_whole_numbers_among_fractions_stay_in_a_long_column() -> None:
    lines = [b'{"n":%d.5}' % one for one in range(50)] + [b'{"n":7}']
    done = decode(lines, {"n": pa.int64()})
    assert rows(done)[-1] == {"n": 7}
    assert done.rescued == 50


def test_a_new_column_widens_from_long_to_double_within_a_block() -> None:
    done = decode([b'{"p":1}', b"broken", b'{"p":2.5}', b'{"p":"x"}', b'{"p":3}'])
    assert rows(done) == [{"p": 1.0}, {"p": 2.5}, {RESCUED: {"p": "x"}}, {"p": 3.0}]


@pytest.mark.parametrize("value", [b"[]", b"{}", b'[{"x":[]}]'])
def test_values_without_a_type_are_rescued(value: bytes) -> None:
    done = decode([b'{"a":1,"v":%s}' % value])
    assert rows(done) == [{"a": 1, RESCUED: {"v": json.loads(value)}}]
    assert {one.kind for one in done.events if one.column.startswith("v")} == {"unstorable"}


@pytest.mark.parametrize("value", [b"[null,1]", b'[null,{"x":[null,"y"]}]', b"[null,[null,true]]", b'{"l":[null,1.5]}'])
def test_lists_that_begin_with_nulls_are_whole(value: bytes) -> None:
    done = decode([b'{"v":%s}' % value, b'{"v":null}', b'{"v":%s}' % value])
    assert rows(done) == [{"v": json.loads(value)}, {}, {"v": json.loads(value)}]
    done.rows.validate(full=True)
    assert rows(decode([b'{"v":%s}' % value], {"v": done.rows.schema.field("v").type})) == [{"v": json.loads(value)}]


@pytest.mark.parametrize("value", [b"[null]", b"[null,null]", b'{"l":[null,null]}'])
def test_lists_of_nothing_but_nulls_are_rescued(value: bytes) -> None:
    assert rows(decode([b'{"v":%s}' % value, b"{}"])) == [{RESCUED: {"v": json.loads(value)}}, {}]


def test_an_empty_list_fits_a_known_list() -> None:
    assert rows(decode([b'{"v":[]}'], {"v": pa.list_(pa.string())})) == [{"v": []}]


def test_keys_that_sql_cannot_tell_apart_are_rescued() -> None:
    done = decode([b'{"user":1,"User":2,"_SOURCE":3,"":4,"o":{"x":1,"X":2}}'])
    assert rows(done) == [{"user": 1, "o": {"x": 1}, RESCUED: {"User": 2, "_SOURCE": 3, "": 4, "o": {"x": 1, "X": 2}}}]
    assert {one.kind for one in done.events} == {"added", "case", "reserved", "name"}


def test_keys_beyond_the_most_columns_are_rescued_also_inside_objects() -> None:
    done = decode([b'{"a":1,"o":{"x":1,"y":2},"c":3}'], columns_max=3)
    assert rows(done) == [{"a": 1, "o": {"x": 1}, RESCUED: {"o": {"x": 1, "y": 2}, "c": 3}}]


def test_a_known_struct_gains_fields() -> None:
    done = decode([b'{"o":{"x":1}}', b'{"o":{"y":"s","x":2}}'], {"o": pa.struct([("x", pa.int64())])})
    assert done.rows.schema.field("o").type == pa.struct([("x", pa.int64()), ("y", pa.string())])
    assert [(one.column, one.kind) for one in done.events] == [("o.y", "added")]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b'"2026-11-22T10:00:00Z"', datetime(2026, 11, 22, 10, tzinfo=UTC)),
        (b'"2026-11-22T10:00:00.123456789+09:00"', datetime(2026, 11, 22, 1, 0, 0, 123456, tzinfo=UTC)),
        (b'"2026-11-22 10:00:00"', datetime(2026, 11, 22, 10, tzinfo=UTC)),
        (b"1763800000", datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC)),
        (b"1763800000123", datetime(2025, 11, 22, 8, 26, 40, 123000, tzinfo=UTC)),
        (b"1763800000.5", datetime(2025, 11, 22, 8, 26, 40, 500000, tzinfo=UTC)),
        (b'"1763800000123456"', datetime(2025, 11, 22, 8, 26, 40, 123456, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("other", [None, b'"2026-01-01T00:00:00Z"', b"5", b"{}"])
def test_the_time_is_read_however_it_is_written(text: bytes, moment: datetime, other: bytes | None) -> None:
    lines = [b'{"t":%s}' % text] + ([b'{"t":%s}' % other] if other else [])
    for order in (lines, lines[::-1]):
        done = decode(order, time="t")
        assert done.rows.schema.field("t").type == TIME
        assert moment in done.rows["t"].to_pylist()
        assert done.rescued == (other == b"{}")


def test_an_unreadable_time_is_rescued() -> None:
    done = decode(
        [b'{"t":"2026-11-22T10:00:00Z"}', b'{"t":"soon"}', b'{"t":true}', b'{"t":null}'], {"t": TIME}, time="t"
    )
    assert [row.get(RESCUED) for row in rows(done)] == [None, {"t": "soon"}, {"t": True}, None]


def test_declared_types_parse_texts() -> None:
    declared = {"n": "long", "d": "date", "s": "string", "b": "boolean", "f": "double", "i": "int"}
    done = decode(
        [
            b'{"n":"12","d":"2026-01-02","s":5,"b":"true","f":"1.5","i":"7"}',
            b'{"n":"x","d":"y","s":"z","i":"3000000000"}',
        ],
        declared=declared,
    )
    assert rows(done)[0] == {
        "n": 12, "d": datetime(2026, 1, 2).date(), "s": "5", "b": True, "f": 1.5, "i": 7
    }  # fmt: skip
    assert rows(done)[1] == {"s": "z", RESCUED: {"n": "x", "d": "y", "i": "3000000000"}}


@pytest.mark.parametrize(
    ("kind", "value"),
    [("date", b'"0000-12-31"'), ("timestamp", b'"0000-12-31T00:00:00"'), ("float", b"1e300"), ("float", b'"-1e300"')],
)
def test_a_declared_type_too_small_for_a_value_keeps_it_as_it_was_written(kind: str, value: bytes) -> None:
    done = decode([b'{"a":' + value + b"}", b'{"a":null}'], declared={"a": kind})
    assert [row.get("a") for row in rows(done)] == [None, None]
    assert rows(done)[0][RESCUED] == {"a": json.loads(value)}


def test_a_declaration_that_cannot_work_is_refused() -> None:
    with pytest.raises(Invalid, match="unknown type"):
        decode([b"{}"], declared={"a": "money"})
    with pytest.raises(Invalid, match="reserved"):
        decode([b"{}"], declared={"_Source": "long"})


def test_a_strict_schema_says_why_a_record_is_bad() -> None:
    lines = [b'{"a":1}', b'{"a":1,"b":2}', b'{"a":"x"}', b'{"t":"x"}', b'{"a":null}', b'{"c":null}']
    done = decode(lines, {"a": pa.int64()}, strict=True, time="t")
    assert done.index.tolist() == [0, 4]
    assert reasons(done) == {
        1: "b: not a column of this strict schema",
        2: "a: string where long is stored",
        3: "t: values that are no timestamptz",
        5: "c: not a column of this strict schema",
    }
    assert RESCUED not in done.rows.column_names


KEYS = st.sampled_from(["a", "A", "b", "o", "l", "f", "_source", "", "x.y", "x", "ключ"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([2**53 + 1, 2**63, -(2**63)])
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3) | st.just("2026-01-01T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
LINES = st.one_of(
    OBJECTS.map(lambda one: json.dumps(one).encode()),
    OBJECTS.map(lambda one: json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode()),
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"{}", b'{"a":1}{', b'{"a":NaN}', b'{"a":1,"a":2}', b'{"a":{', b'"}', b'{"o":{"x":1,"x":1}}', b"null"]
    ),
)
TABLES = st.sampled_from(
    [
        {},
        {"a": pa.int64(), "b": pa.string(), "o": pa.struct([("x", pa.int64())])},
        {"f": pa.float64(), "l": pa.list_(pa.string()), "a": pa.bool_()},
    ]
)


def naive(line: bytes) -> dict[str, Any] | None:
    """A record as the standard library reads it, one at a time; None where it is bad."""

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(members)) < len(members):
            raise ValueError("twice")
        return dict(members)

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        text = line.decode()
        found = json.loads(text.removeprefix("\ufeff").strip(" \t\r\n"), object_pairs_hook=pairs, parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def contained(stored: Any, sent: Any) -> bool:
    """Whether everything that was sent is in what was stored; nulls need no place."""
    if isinstance(sent, dict):
        return isinstance(stored, dict) and all(
            one is None or contained(stored.get(name), one) for name, one in sent.items()
        )
    if isinstance(sent, list):
        return isinstance(stored, list) and len(sent) == len(stored) and all(map(contained, stored, sent))
    if isinstance(sent, bool) or isinstance(stored, bool):
        return stored is sent
    return bool(stored == sent)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=12), TABLES)
def test_whatever_surrounds_it_a_valid_record_survives_with_every_value(
    lines: list[bytes], table: dict[str, pa.DataType]
) -> None:
    data = b"\n".join(lines)
    records = Records.of_lines(data)
    done = decode(data, table)
    found = dict(zip(done.index.tolist(), rows(done), strict=True))
    for index in range(len(records)):
        sent = naive(records[index])
        assert (sent is None) == (index not in found), (records[index], reasons(done).get(index))
        for name, value in (sent or {}).items():
            row = found[index]
            kept = row.get(RESCUED, {})
            assert value is None or contained(kept.get(name) if name in kept else row.get(name), value), name
