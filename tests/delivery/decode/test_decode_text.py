"""Log and delimited formats: golden lines, and no record disturbs another."""

import csv
import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulgil.delivery.decode import Decoded, decoder, find_time
from mulgil.errors import Invalid
from mulgil.record import Records
from mulgil.schema import Format

SHARED = Path(__file__).parents[4] / "shared" / "data" / "apache_combined.log.gz"

LINE = b'1.2.3.4 - frank [10/Oct/2000:13:55:36 -0700] "GET /a?b=c d HTTP/1.0" 200 2326 "http://x/" "Mozilla/4.08 [en]"'
ROW = {
    "remote_host": "1.2.3.4", "user": "frank", "time": datetime(2000, 10, 10, 20, 55, 36, tzinfo=UTC), "method": "GET",
    "path": "/a?b=c d", "protocol": "HTTP/1.0", "status": 200, "bytes": 2326, "referer": "http://x/",
    "user_agent": "Mozilla/4.08 [en]",
}  # fmt: skip
ALB = (
    b"https 2018-07-02T22:23:00.186641Z app/lb/50dc 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "
    b'"GET https://www.example.com:443/ HTTP/1.1" "curl/7.46.0" ECDHE TLSv1.2 arn:tg "Root=1-5" "www.example.com" '
    b'"arn:c" 1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_123'
)


def decode(form: Format, lines: list[bytes], columns: dict[str, Any] | None = None, **rules: Any) -> Decoded:
    records = Records.of_lines(b"\n".join(lines))
    given_rules = {"declared": {}, "time": None, "strict": False} | rules
    done = decoder(form, pa.schema(list((columns or {}).items())), **given_rules).decode(records)
    done.rows.validate(full=True)
    assert done.rows.num_rows == len(done.index)
    assert sorted([*done.index.tolist(), *(one.index for one in done.bad)]) == list(range(len(records)))
    return done


def rows(done: Decoded) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in done.rows.to_pylist()]


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (b"", b"", {}),
        (b"frank", b"-", {"user": None}),
        (b"- frank", b"id a b", {"ident": "id", "user": "a b"}),
        (b"2326", b"-", {"bytes": None}),
        (b"HTTP/1.0", b"HTTP/2", {"protocol": "HTTP/2"}),
        (b"GET /a?b=c d HTTP/1.0", b"\\x16\\x03", {"method": None, "protocol": None, "path": "\\x16\\x03"}),
        (b"GET /a?b=c d HTTP/1.0", b"-", {"method": None, "protocol": None, "path": None}),
        (b"GET /a?b=c d HTTP/1.0", b"GET /a", {"method": None, "protocol": None, "path": "GET /a"}),
        (b"http://x/", b"-", {"referer": None}),
        (b"Mozilla", b'A \\" Mozilla', {"user_agent": 'A \\" Mozilla/4.08 [en]'}),
        (b"Mozilla", b'A "b" Mozilla', {"user_agent": 'A "b" Mozilla/4.08 [en]'}),
        (b'[en]"', b'[en]" 0.005 "10.0.0.1"', {"extra": '0.005 "10.0.0.1"'}),
        (b"10/Oct/2000:13:55:36 -0700", b"2000-10-10T13:55:36-07:00", {}),
    ],
)
def test_combined_lines(old: bytes, new: bytes, changes: dict[str, Any]) -> None:
    wanted = {name: value for name, value in {**ROW, **changes}.items() if value is not None}
    done = decode(Format("combined"), [LINE, LINE.replace(old, new) if old else LINE, LINE])
    assert rows(done) == [ROW, wanted, ROW]


@pytest.mark.parametrize(
    "line",
    [b"x", LINE[:-3], LINE[:60], LINE.replace(b"2326", b"23x6"), LINE.replace(b" 200 ", b" 2000 "), b'"' * 6,
     LINE.replace(b"Oct", b"Zzz"), LINE.replace(b"10/Oct", b"32/Oct"), LINE.replace(b"1.2.3.4 ", b""), LINE + b"x"],
)  # fmt: skip
def test_what_is_no_combined_line_is_bad_and_its_neighbours_survive(line: bytes) -> None:
    done = decode(Format("combined"), [LINE, line, LINE])
    assert done.index.tolist() == [0, 2]
    assert rows(done) == [ROW, ROW]


def test_a_time_outside_of_the_years_that_readers_know_is_rescued() -> None:
    done = decode(Format("combined"), [LINE.replace(b"10/Oct/2000:13:55:36 -0700", b"31/Dec/9999:23:00:00 -0700")])
    assert "time" not in rows(done)[0]
    assert "10000-01-01" in str(done.rows["_rescued"][0])


def test_any_buffer_will_do() -> None:
    escaped = LINE.replace(b"Moz", b'\\"Moz')
    data = memoryview(b"\n".join([LINE, escaped]))
    records = Records.of_lines(bytes(data))
    viewed = Records(data, records.starts, records.ends)  # type: ignore[arg-type]
    for form in (Format("combined"), Format("json"), Format("alb"), Format("csv", fields=("a",))):
        one = decoder(form, pa.schema([]), declared={}, time=None, strict=False)
        assert one.decode(viewed).rows == one.decode(records).rows


def test_common_lines() -> None:
    line = LINE[: LINE.index(b' "http')]
    wanted = without(ROW, "referer", "user_agent")
    assert rows(decode(Format("common"), [line, line + b" more"])) == [wanted, {**wanted, "extra": "more"}]


def test_the_columns_of_kinesis_agent_keep_the_request_whole() -> None:
    names = ("host", "ident", "authuser", "datetime", "request", "response", "bytes", "referer", "agent")
    done = decode(Format("combined", fields=names), [LINE])
    assert done.rows.column_names == list(names)
    assert (rows(done)[0]["request"], rows(done)[0]["response"]) == ("GET /a?b=c d HTTP/1.0", "200")
    with pytest.raises(Invalid, match="2 names for the 11 columns"):
        decode(Format("combined", fields=("a", "b")), [LINE])


def test_a_column_takes_the_type_that_the_table_has() -> None:
    done = decode(Format("combined"), [LINE], {"status": pa.string(), "bytes": pa.float64(), "path": pa.int64()})
    row = rows(done)[0]
    assert (row["status"], row["bytes"], row["_rescued"]) == ("200", 2326.0, '{"path":"/a?b=c d"}')


@pytest.mark.skipif(not SHARED.exists(), reason="the real log lies beside the repository, not in it")
def test_a_real_log_is_read_whole() -> None:
    lines = gzip.decompress(SHARED.read_bytes()).splitlines()
    done = decode(Format("combined"), lines)
    assert len(done.index) + len(done.bad) == 10_000
    # One line of it was cut off inside the user agent.
    assert [lines[one.index].endswith(b"google.com/bot.html") for one in done.bad] == [True]
    assert done.rows["method"].null_count == 0
    assert set(done.rows["status"].to_pylist()) == {200, 206, 301, 304, 403, 404, 416, 500}


def test_alb_lines_old_new_and_odd() -> None:
    done = decode(
        Format("alb"),
        [ALB, ALB + b' "f g"', ALB.replace(b"10.0.0.1:80 0.086", b"- -1"), b"a b", ALB.replace(b"curl", b'c\\"url')],
    )
    found = rows(done)
    assert done.index.tolist() == [0, 1, 2, 4]
    assert done.bad[0].reason == "2 fields where at least 13 were expected"
    assert found[0]["time"] == datetime(2018, 7, 2, 22, 23, 0, 186641, tzinfo=UTC)
    assert (found[0]["client_ip"], found[0]["client_port"], found[0]["request_verb"]) == ("192.168.131.39", 2817, "GET")
    assert (found[0]["conn_trace_id"], found[0]["sent_bytes"]) == ("TID_123", 57)
    assert found[1] == {**found[0], "extra": '"f g"'}
    assert "target_ip" not in found[2]
    assert found[3]["user_agent"] == 'c\\"url/7.46.0'


def test_nginx_error_lines() -> None:
    done = decode(
        Format("nginx_error"),
        [
            b'2026/11/22 10:00:00 [error] 12#4: *67 open() "/x, y" failed, client: 1.2.3.4, server: a.b, '
            b'request: "GET /x HTTP/1.1", upstream: "http://u/", host: "a.b", referrer: "http://z/"',
            b"2026/11/22 10:00:00 [notice] 1#1: start",
            b"x",
        ],
    )
    assert rows(done)[0] == {
        "time": datetime(2026, 11, 22, 10, tzinfo=UTC), "level": "error", "pid": 12, "tid": 4, "connection": 67,
        "message": 'open() "/x, y" failed', "client": "1.2.3.4", "server": "a.b", "request": "GET /x HTTP/1.1",
        "upstream": "http://u/", "host": "a.b", "referrer": "http://z/",
    }  # fmt: skip
    assert done.index.tolist() == [0, 1]


def test_apache_error_lines_of_both_ages_and_over_several_lines() -> None:
    data = (
        b"[Sun Nov 22 10:00:00.123456 2026] [core:error] [pid 1:tid 2] [client 1.2.3.4:55] AH00124: Request\n  more\n"
        b"[Wed Oct 11 14:32:52 2000] [error] [client 127.0.0.1] client denied"
    )
    cut = data.index(b"[Wed")
    records = Records(data, np.array([0, cut]), np.array([cut - 1, len(data)]))
    done = decoder(Format("apache_error"), pa.schema([]), declared={}, time=None, strict=False).decode(records)
    assert rows(done) == [
        {"time": datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC), "module": "core", "level": "error", "pid": 1,
         "tid": 2, "client": "1.2.3.4:55", "code": "AH00124", "message": "Request\n  more"},
        {"time": datetime(2000, 10, 11, 14, 32, 52, tzinfo=UTC), "level": "error", "client": "127.0.0.1",
         "message": "client denied"},
    ]  # fmt: skip


def test_csv_types_are_taken_from_the_values() -> None:
    done = decode(
        Format("csv", fields=("n", "f", "zip", "s")), [b'1,1.5,01234,"a, ""b"""', b"-2,,99999,", b'3,2,1,5" pipe']
    )
    assert rows(done) == [
        {"n": 1, "f": 1.5, "zip": "01234", "s": 'a, "b"'},
        {"n": -2, "zip": "99999"},
        {"n": 3, "f": 2.0, "zip": "1", "s": '5" pipe'},
    ]


def test_csv_misfits_are_rescued_and_miscounted_lines_are_bad() -> None:
    form = Format("csv", fields=("n", "d", "_source"))
    done = decode(
        form, [b"1,2026-01-01,x", b"y,no,", b"1,2", b'"1,2,3', b"1,2,3,4"], {"n": pa.int64()}, declared={"d": "date"}
    )
    assert rows(done) == [
        {"n": 1, "d": date(2026, 1, 1), "_rescued": '{"_source":"x"}'},
        {"_rescued": '{"n":"y","d":"no"}'},
    ]
    assert [one.reason for one in done.bad] == [
        "2 fields where 3 were expected",
        "quotes do not fit together: unexpected end of data",
        "4 fields where 3 were expected",
    ]
    strict = decode(form, [b"1,2026-01-01,", b"y,2026-01-01,"], {"n": pa.int64()}, declared={"d": "date"}, strict=True)
    assert [one.reason for one in strict.bad] == ["n: values that are no long"]


def test_tsv_and_multi_line_records() -> None:
    records = Records(b'1\t"a\nb"\n2\tc', np.array([0, 8]), np.array([7, 11]))
    form = Format("tsv", fields=("n", "s"))
    done = decoder(form, pa.schema([]), declared={}, time=None, strict=False).decode(records)
    assert rows(done) == [{"n": 1, "s": "a b"}, {"n": 2, "s": "c"}]


FIELD = st.text(st.sampled_from("ab1,\"' "), max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from('a1,,"" '), min_size=1, max_size=10), min_size=1, max_size=8))
def test_no_csv_record_disturbs_another(lines: list[str]) -> None:
    """The standard library, one line at a time, is the judge wherever it accepts a line."""
    done = decode(
        Format("csv", fields=("x", "y")), [line.encode() for line in lines], declared={"x": "string", "y": "string"}
    )
    found = dict(zip(done.index.tolist(), done.rows.select(["x", "y"]).to_pylist(), strict=True))
    for index, line in enumerate(lines):
        try:
            wanted = next(csv.reader([line], strict=True))
        except csv.Error:
            continue
        if len(wanted) == 2:
            assert list(found[index].values()) == [one or None for one in wanted]
        else:
            assert index not in found


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.just(LINE), st.binary(min_size=1, max_size=20), st.builds(
        lambda place, byte: LINE[:place] + byte + LINE[place:], st.integers(0, len(LINE)), st.binary(max_size=2))),
        min_size=1, max_size=8)
)  # fmt: skip
@pytest.mark.parametrize(
    "form", [Format("combined"), Format("alb"), Format("raw"), Format("regex", pattern="(?P<a>.)")]
)
def test_no_log_record_disturbs_another(form: Format, lines: list[bytes]) -> None:
    records = Records.of_lines(b"\n".join(lines))
    alone = [decode(form, [records[index]]) for index in range(len(records))]
    done = decode(form, [records[index] for index in range(len(records))])
    assert done.index.tolist() == [index for index, one in enumerate(alone) if len(one.index)]
    assert rows(done) == [row for one in alone for row in rows(one)]


def test_regex_groups_become_columns() -> None:
    form = Format("regex", pattern=r"^(?<level>\w+): (?P<n>\d+)?(?P<rest>.*)$")
    done = decode(form, [b"INFO: 5 x", b"no", b"W: y"], declared={"n": "long"})
    assert rows(done) == [{"level": "INFO", "n": 5, "rest": " x"}, {"level": "W", "rest": "y"}]
    assert [one.reason for one in done.bad] == ["does not match the pattern"]


@pytest.mark.parametrize("pattern", ["", "abc", "(?P<a>x)(?P<a>y)", "(?P<a>x)(y)", "(?P<a>[)"])
def test_patterns_that_cannot_work_are_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        decode(Format("regex", pattern=pattern), [b"x"])


@pytest.mark.parametrize(
    "form", [Format("csv"), Format("csv", fields=("a", "a")), Format("csv", fields=("a",), delimiter="::")]
)
def test_csv_settings_that_cannot_work_are_refused(form: Format) -> None:
    with pytest.raises(Invalid):
        decode(form, [b"x"])


def test_raw_lines() -> None:
    done = decode(Format("raw"), [b"a", b"\xff", "물길".encode()])
    assert rows(done) == [{"line": "a"}, {"line": "물길"}]
    assert done.bad[0].reason.startswith("not UTF-8")


def test_the_time_is_found_by_name_and_by_value() -> None:
    at = ["2026-01-01T00:00:00Z"]
    assert find_time(pa.table({"id": [1], "created_at": at, "ts": [1763800000123]})) == "ts"
    assert find_time(pa.table({"ts": ["soon"], "created_at": at})) == "created_at"
    assert find_time(pa.table({"Timestamp": at})) == "Timestamp"
    assert find_time(pa.table({"time": [5], "ts": pa.nulls(1, pa.string()), "day": at})) is None


@pytest.mark.parametrize("kind", ["json", "combined", "common", "alb", "nginx_error", "apache_error", "raw"])
def test_no_records_are_no_rows(kind: Any) -> None:
    assert decode(Format(kind), []).rows.num_rows == 0
