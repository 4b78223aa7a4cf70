"""The fast decoder takes only what the schema takes, and with the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.config import ROOT
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.errors import InvalidInput
from app.schemas import decode
from app.schemas.decode import decode_batch, decode_snapshots, decode_update
from app.schemas.fields import parse_timestamp
from app.schemas.nodes import SnapshotSchema
from tests.fuzz.sizes import RUNS

MANY = 3 if RUNS else 1  # `make fuzz` tries more of them

NUMBERS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([2**63 - 1, 2**63, 10**30, 100, 101, 1.0, 1.5, -0.0, 1e300, 99.999]),
    st.floats(allow_nan=True, allow_infinity=True),
)
TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["", "x" * 255, "x" * 256, "ä😀"]))
TIMESTAMPS = st.sampled_from(
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00.123456789+01:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2016-12-31T23:59:60Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T12:00:00+00:99",
        "٢٠٢٦-01-31T12:00:00Z",
        "20260131T120000Z",
    ]
)
ANYTHING = st.one_of(NUMBERS, TEXTS, TIMESTAMPS, st.none(), st.booleans(), st.just([]), st.just({}))
STATUSES = st.one_of(st.sampled_from(["running", "completed", "Running", "stalled"]), ANYTHING)


def _objects(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(good, good, good, ANYTHING) for name, good in fields.items()}
    )


DISKS = st.lists(
    _objects(
        {
            "disk_index": st.integers(0, 3) | st.sampled_from([-1, 1023, 1024]),
            "status": st.sampled_from(["pending", "transferring", "completed", "failed"]),
            "bytes_transferred": NUMBERS,
            "total_bytes": NUMBERS,
            "transfer_speed_bps": NUMBERS,
            "progress_percent": NUMBERS,
            "error_message": TEXTS,
        }
    ),
    max_size=3,
)
UPDATES = _objects(
    {
        "status": STATUSES,
        "job_id": st.just("j"),
        "job_type": st.just("backup"),
        "current_phase": TEXTS,
        "bytes_transferred": NUMBERS,
        "total_bytes": NUMBERS,
        "transfer_speed_bps": NUMBERS,
        "eta_seconds": NUMBERS,
        "progress_percent": NUMBERS,
        "disks": DISKS,
        "error": TEXTS,
        "timestamp": TIMESTAMPS,
        "lost_updates": NUMBERS | st.sampled_from([2**31 - 1, 2**31]),
        "interval_seconds": NUMBERS | st.sampled_from([1, 86_400, 86_401]),
        "vm_name": TEXTS,
        "repository_id": TEXTS,
        "backup_type": TEXTS,
        "unknown": ANYTHING,
    }
)


def _outcome(body: bytes) -> Update | dict[str, list[str]]:
    try:
        return decode_update(body, "backup", "j")
    except InvalidInput as exc:
        assert exc.errors, "a refusal names its field"
        return exc.errors


@settings(max_examples=5 * MANY * settings().max_examples, deadline=None)
@given(body=UPDATES, escape=st.booleans())
@example(body={"status": "running", "bytes_transferred": 1.0}, escape=False)
@example(body={"status": "running", "progress_percent": -0.0}, escape=False)
@example(body={"status": "running", "progress_percent": 1000}, escape=False)
@example(body={"status": "running", "disks": [{"disk_index": True}]}, escape=False)
@example(body={"status": "running", "current_phase": "\0"}, escape=True)
def test_fast_decoder_and_schema_agree(body: dict[str, Any], escape: bool) -> None:
    text = json.dumps(body, ensure_ascii=escape).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        fast = _outcome(text)
        patch.setattr(decode, "_decode_update", _refuse)
        patch.setattr("app.schemas.decode.msgspec.convert", _refuse)
        slow = _outcome(text)
    assert fast == slow


@settings(max_examples=MANY * settings().max_examples, deadline=None)
@given(items=st.lists(UPDATES, min_size=1, max_size=4), form=st.sampled_from(["lines", "{", "["]))
def test_batches_judge_each_item_as_the_schema_does(items: list[dict[str, Any]], form: str) -> None:
    is_ndjson = form == "lines"
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    listed = f"[{','.join(lines)}]"
    text = {"lines": "\n".join(lines), "{": f'{{"updates":{listed}}}', "[": listed}[form]
    with pytest.MonkeyPatch.context() as patch:
        fast = _batch_outcome(text.encode("utf-8", "surrogatepass"), is_ndjson)
        patch.setattr(decode, "_decode_items", _refuse)
        patch.setattr("app.schemas.decode.msgspec.convert", _refuse)
        slow = _batch_outcome(text.encode("utf-8", "surrogatepass"), is_ndjson)
    assert fast == slow


ITEM = b'{"status":"running","job_id":"j","job_type":"backup"}'
BROKEN = b'{"status":\n"running","job_id":"j","job_type":"backup"}'


@pytest.mark.parametrize(
    "body",
    [
        b"%s\n%s" % (ITEM, ITEM),
        b"%s\n%s\n" % (ITEM, ITEM),
        b"\n\n%s\n\n%s\n\n" % (ITEM, ITEM),
        b"%s\r\n%s\r\n" % (ITEM, ITEM),
        b"%s %s" % (ITEM, ITEM),
        b"%s%s\n\n" % (ITEM, ITEM),
        b"%s%s" % (BROKEN, ITEM),
        b"%s\n%s\n%s%s" % (ITEM, BROKEN, ITEM, ITEM),
        b"%s\n[]" % ITEM,
        b"%s,\n%s" % (ITEM, ITEM),
        b"\xef\xbb\xbf%s" % ITEM,
        b"",
    ],
)
def test_an_object_that_does_not_end_with_its_line_is_rejected_by_both_decoders(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    fast = _batch_outcome(body, is_ndjson=True)
    monkeypatch.setattr(decode, "_decode_items", _refuse)
    monkeypatch.setattr("app.schemas.decode.msgspec.convert", _refuse)
    assert fast == _batch_outcome(body, is_ndjson=True)


def _batch_outcome(body: bytes, is_ndjson: bool) -> Any:
    try:
        return decode_batch(body, is_ndjson=is_ndjson)
    except InvalidInput as exc:
        return exc.errors


def _refuse(*_: Any, **__: Any) -> None:
    raise ValueError


def test_common_update_takes_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "load", None)  # the schema is not called
    body = b'{"status":"running","bytes_transferred":5,"timestamp":"2026-01-31T12:00:00Z"}'
    assert decode_update(body, "backup", "j").fields == {"bytes_transferred": 5}
    telling = body.replace(b'"running"', b'"running","lost_updates":7')
    assert decode_update(telling, "backup", "j").lost_updates == 7
    telling = body.replace(b'"running"', b'"running","interval_seconds":600')
    assert decode_update(telling, "backup", "j").interval == 600


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"   ", "body"),
        (b"nonsense", "body"),
        (b"[1]", "body"),
        (b'"text"', "body"),
        (b'{"status":"running","bytes_transferred":NaN}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred":Infinity}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred" : -Infinity}', "bytes_transferred"),
        (b'{"status":"running","current_phase":"\xc3\xa4","eta_seconds":NaN}', "eta_seconds"),
        (b'{"status":"running","disks":[{"disk_index":0,"total_bytes":NaN}]}', "total_bytes"),
        (b'{"status":"running","disks":[NaN]}', "body"),
        (b'{"status":"running","x":[1,1e999]}', "body"),
        (b'{"status":"running","a\\"b":NaN}', 'a\\"b'),
        (b'{"status":"running","' + b"x" * 400 + b'":NaN}', "body"),
        (b'{"status":"running","eta_seconds":', "body"),
        (b'{"status":"running","current_phase":"\xff","eta_seconds":NaN}', "body"),
        (b'{"status":"running","current_phase":"\\ud800"}', "body"),
        (b'{"status":"running","current_phase":"\\u0000"}', "current_phase"),
        (b'{"status":"running","bytes_transferred":' + b"9" * 5000 + b"}", "bytes_transferred"),
        (b'{"status":"running","progress_percent":' + b"9" * 5000 + b"}", "progress_percent"),
        (b'{"status":"running","disks":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "body"),
        (b'{"status":"running","x":' + b'{"x":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "body"),
        (b'{"status":"running","bytes_transferred":-1}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred":true}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred":"12"}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred":1.5}', "bytes_transferred"),
        (b'{"status":"running","bytes_transferred":9223372036854775808}', "bytes_transferred"),
        (b'{"status":"running","progress_percent":-0.1}', "progress_percent"),
        (b'{"status":"running","lost_updates":-1}', "lost_updates"),
        (b'{"status":"running","lost_updates":2147483648}', "lost_updates"),
        (b'{"status":"running","lost_updates":1.5}', "lost_updates"),
        (b'{"status":"running","lost_updates":true}', "lost_updates"),
        (b'{"status":"running","lost_updates":"3"}', "lost_updates"),
        (b'{"status":"running","lost_updates":NaN}', "lost_updates"),
        (b'{"status":"running","interval_seconds":0}', "interval_seconds"),
        (b'{"status":"running","interval_seconds":86401}', "interval_seconds"),
        (b'{"status":"running","interval_seconds":1.5}', "interval_seconds"),
        (b'{"status":"running","progress_percent":1e999}', "progress_percent"),
        (b'{"status":"sleeping"}', "status"),
        (b"{}", "status"),
        (b'{"status":null}', "status"),
        (b'{"status":"running","timestamp":"2026-01-31T12:00:00"}', "timestamp"),
        (b'{"status":"running","timestamp":"2026-02-30T12:00:00Z"}', "timestamp"),
        (b'{"status":"running","timestamp":1769860800}', "timestamp"),
        (b'{"status":"running","job_id":"other"}', "job_id"),
        (b'{"status":"running","job_type":"restore"}', "job_type"),
        (b'{"status":"running","disks":[{"disk_index":1},{"disk_index":1}]}', "disks.1.disk_index"),
        (b'{"status":"running","disks":[{"disk_index":-1}]}', "disks.0.disk_index"),
        (b'{"status":"running","disks":[{"disk_index":1024}]}', "disks.0.disk_index"),
        (b'{"status":"running","disks":[{}]}', "disks.0.disk_index"),
        (b'{"status":"running","disks":[7]}', "disks.0"),
        (b'{"status":"running","disks":{"0":{}}}', "disks"),
    ],
)
def test_bad_body_is_refused_naming_its_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode_update(body, "backup", "j")
    assert list(refusal.value.errors) == [field]
    assert str(refusal.value).startswith(field)


@pytest.mark.parametrize("number", [b"9" * 5000, b"1e999", b"-1e999"])
@pytest.mark.parametrize("body", [b'{"status":"running","x":%s}', b'{"status":"running","x":[%s]}'])
def test_a_number_too_large_is_not_called_no_json(body: bytes, number: bytes) -> None:
    with pytest.raises(InvalidInput, match="too large a number") as refusal:
        decode_update(body % number, "backup", "j")
    assert "JSON" not in str(refusal.value)


# What msgspec might skip or take in another way than orjson, as bytes.
ODD_MEMBERS = [
    b'"x":' + b"9" * 5000,
    b'"x":1e999',
    b'"x":-1e999',
    b'"x":1e-999',
    b'"x":NaN',
    b'"x":"\xff"',
    b'"x":"\xed\xa0\x80"',
    b'"x":"\xc0\x80"',
    b'"x":"\x01"',
    b'"x":"\\ud800"',
    b'"x":"\\x"',
    b'"x":01',
    b'"x":1.',
    b'"x":{"y":[tru]}',
    b'"x":' + b"[" * 2000 + b"]" * 2000,
    b'"\xff":1',
    b'"x\x01":1',
    b'"x":1,"x":2',
    b'"status":"completed"',
    b'"stat\\u0075s":"completed"',
    b'"bytes_transferred":1,"bytes_transferred":2',
    b'"bytes_transferred":-1,"bytes_transferred":2',
    b'"bytes_transferred":1,"bytes_transferred":NaN',
    b'"bytes_transferred":1,"bytes_transferred":null',
    b'"bytes_transferred":1e2',
    b'"bytes_transferred":9.3e18',
    b'"bytes_transferred":-0',
    b'"bytes_transferred":1.0000000000000000000001',
    b'"progress_percent":1e-999',
    b'"progress_percent":99.999999999999999999999',
    b'"bytes_transferred\xff":1',
    b'"error_message":"\xff"',
    b'"error":"\xff"',
    b'"error":"\xed\xa0\x80"',
    b'"error":"\xf5\x80\x80\x80"',
    b'"error":"\xc3"',
    b'"error":"\x1f"',
    b'"error":"\x7f\\/\\n"',
    b'"error":"\\x"',
    b'"job_id":"other","job_id":"j"',
    b'"timestamp":"2026-01-31T12:00:00\xff"',
]


@pytest.mark.parametrize("member", ODD_MEMBERS)
@pytest.mark.parametrize(
    "around",
    [
        b'{"status":"running",%s}',
        b'{%s,"status":"running"}',
        b'{"status":"running","disks":[{"disk_index":0,%s}]}',
        b'{"status":"running"}%s',
    ],
)
def test_fast_decoder_and_schema_agree_on_odd_bytes(
    monkeypatch: pytest.MonkeyPatch, around: bytes, member: bytes
) -> None:
    body = around % member
    fast = _outcome(body)
    monkeypatch.setattr(decode, "_decode_update", _refuse)
    assert fast == _outcome(body)


@pytest.mark.parametrize("member", ODD_MEMBERS)
@pytest.mark.parametrize(
    "around",
    [
        b'{"updates":[{"status":"running","job_id":"j","job_type":"backup"}],%s}',
        b'{%s,"updates":[{"status":"running","job_id":"j","job_type":"backup"}]}',
        b'{"updates":[{"status":"running","job_id":"j","job_type":"backup",%s}]}',
        b'{"updates":[{"status":"running","job_id":"j","job_type":"backup",'
        b'"disks":[{"disk_index":0,%s}]}]}',
    ],
)
@pytest.mark.parametrize("form", ["{", "[", "lines"])
def test_fast_decoder_and_schema_agree_on_odd_bytes_of_batches(
    monkeypatch: pytest.MonkeyPatch, around: bytes, member: bytes, form: str
) -> None:
    body, is_ndjson = around % member, form == "lines"
    if form == "[":
        body = body.removeprefix(b'{"updates":').removesuffix(b"}")
    elif is_ndjson:
        body = body.removeprefix(b'{"updates":[').removesuffix(b"]}")
    fast = _batch_outcome(body, is_ndjson)
    monkeypatch.setattr(decode, "_decode_items", _refuse)
    monkeypatch.setattr("app.schemas.decode.msgspec.convert", _refuse)
    assert fast == _batch_outcome(body, is_ndjson)


@pytest.mark.parametrize("member", [b'"x":1e999', b'"x":"\xff"', b'"x":' + b"9" * 5000])
def test_an_unreadable_unknown_field_is_refused(member: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_update(b'{"status":"running",' + member + b"}", "backup", "j")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00+00:99",
        "2026-01-31T12:00:00+14:60",
        "2026-01-31T12:00:00-24:00",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:99Z",
        "9999-12-31T23:59:60Z",
    ],
)
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    body = json.dumps({"status": "running", "timestamp": text}).encode()
    with pytest.raises(InvalidInput, match=r"\Atimestamp: "):
        decode_update(body, "backup", "j")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2026-01-31T12:00:00+23:59", "2026-01-30T12:01:00Z"),
        ("2026-01-31T00:00:00-00:00", "2026-01-31T00:00:00Z"),
    ],
)
def test_odd_times_that_exist_are_taken(text: str, same: str) -> None:
    assert parse_timestamp(text) == parse_timestamp(same)


def test_phase_may_have_255_characters_and_not_256() -> None:
    good = json.dumps({"status": "running", "current_phase": "ä" * 255}).encode()
    assert decode_update(good, "backup", "j").fields["current_phase"] == "ä" * 255
    with pytest.raises(InvalidInput, match="current_phase"):
        decode_update(good.replace(b'"}', b'x"}'), "backup", "j")


def test_percent_above_100_is_100_with_a_note() -> None:
    update = decode_update(b'{"status":"running","progress_percent":140}', "backup", "j")
    assert update.fields == {"progress_percent": 100.0}
    assert list(update.notes) == ["progress_above_100"]


@pytest.mark.parametrize(
    ("count", "lost"),
    [(b"12", 12), (b"12.0", 12), (b"0", 0), (b"null", 0), (b"2147483647", 2**31 - 1)],
)
def test_what_was_lost_is_not_part_of_what_the_update_says(count: bytes, lost: int) -> None:
    plain = b'{"status":"running","eta_seconds":3,"timestamp":"2026-01-31T12:00:00Z"}'
    update = decode_update(plain.replace(b'"eta', b'"lost_updates":%s,"eta' % count), "backup", "j")
    assert update.lost_updates == lost
    same = decode_update(plain, "backup", "j")
    assert same.lost_updates == 0
    assert (same.fields, same.content(), same.tie_key()) == (
        update.fields,
        update.content(),
        update.tie_key(),
    )


def test_how_often_its_sender_reports_is_not_part_of_what_the_update_says() -> None:
    plain = b'{"status":"running","eta_seconds":3,"timestamp":"2026-01-31T12:00:00Z"}'
    telling = plain.replace(b'"eta', b'"interval_seconds":60.0,"eta')
    update, same = (decode_update(body, "backup", "j") for body in (telling, plain))
    assert (update.interval, same.interval) == (60, 0)
    assert (same.fields, same.content()) == (update.fields, update.content())


def test_batch_of_one_bad_among_999_good_keeps_the_good() -> None:
    good = {"status": "running", "job_id": "j", "job_type": "backup"}
    items = [dict(good) for _ in range(1000)]
    items[400]["status"] = "sleeping"
    decoded = decode_batch(json.dumps({"updates": items}).encode(), is_ndjson=False)
    assert [i for i, item in enumerate(decoded) if isinstance(item, dict)] == [400]
    assert list(decoded[400]) == ["status"]  # type: ignore[arg-type]


def test_a_bare_array_is_a_batch() -> None:
    bare, listed = b" [%s,1]" % ITEM, b'{"updates":[%s,1]}' % ITEM
    assert decode_batch(bare, is_ndjson=False) == decode_batch(listed, is_ndjson=False)
    assert decode_batch(b"[]", is_ndjson=False) == []


def test_a_bare_array_has_snapshots() -> None:
    items = b'[{"node_id":"n","cpu_percent":5},{"cpu_percent":1},{"node_id":"m","cpu_percent":101}]'
    schema = SnapshotSchema()
    bare, listed = (decode_snapshots(body, schema) for body in (items, b'{"snapshots":%s}' % items))
    assert bare == listed
    assert [isinstance(item, Snapshot) for item in bare] == [True, False, True]


@pytest.mark.parametrize("body", [b"1", b'"[]"', b"null", b"[", b"[{]"])
def test_what_is_neither_an_object_nor_an_array_is_no_batch(body: bytes) -> None:
    for decode_body in (
        lambda: decode_batch(body, is_ndjson=False),
        lambda: decode_snapshots(body, SnapshotSchema()),
    ):
        with pytest.raises(InvalidInput, match=r"^body: "):
            decode_body()


def test_a_bare_array_of_more_than_10000_is_refused() -> None:
    with pytest.raises(InvalidInput, match="updates: 10001 updates"):
        decode_batch(b"[%s]" % b",".join([ITEM] * 10_001), is_ndjson=False)
    with pytest.raises(InvalidInput, match="snapshots: 10001 snapshots"):
        decode_snapshots(b"[%s]" % b",".join([b'{"node_id":"n"}'] * 10_001), SnapshotSchema())


@pytest.mark.parametrize(
    "job_id", ["", "a/b", ".", "..", "summary", "x" * 256, "a\x01", "a\x85", "a\u200b", " a"]
)
def test_batch_item_with_a_bad_job_id_is_rejected(job_id: str) -> None:
    item = {"status": "running", "job_id": job_id, "job_type": "backup"}
    (decoded,) = decode_batch(json.dumps({"updates": [item]}).encode(), is_ndjson=False)
    assert isinstance(decoded, dict)
    assert list(decoded) == ["job_id"]


@pytest.mark.parametrize("job_type", ["batch", "history", "snapshot", "Backup", "1x", "a" * 51])
def test_batch_item_with_a_bad_job_type_is_rejected(job_type: str) -> None:
    item = {"status": "running", "job_id": "j", "job_type": job_type}
    (decoded,) = decode_batch(json.dumps({"updates": [item]}).encode(), is_ndjson=False)
    assert isinstance(decoded, dict)
    assert list(decoded) == ["job_type"]


def test_batch_over_10000_updates_is_refused() -> None:
    item = '{"status":"running","job_id":"j","job_type":"backup"}'
    body = '{"updates":[' + ",".join([item] * 10_001) + "]}"
    with pytest.raises(InvalidInput, match="updates"):
        decode_batch(body.encode(), is_ndjson=False)


def test_as_many_disks_as_fit_into_a_body_are_taken() -> None:
    """Compact JSON with the shortest values that there are."""
    disk = {"status": "failed", "bytes_transferred": 0, "total_bytes": 0, "transfer_speed_bps": 0}
    item = {"status": "failed", "job_id": "j", "job_type": "a", "eta_seconds": 0}
    disks = [{"disk_index": index, **disk} for index in range(16)]
    body = json.dumps({"updates": [{**item, "disks": disks}] * 10_000}, separators=(",", ":"))
    assert 15 << 20 < len(body) < 16 << 20
    decoded = decode_batch(body.encode(), is_ndjson=False)
    assert len(decoded) == 10_000
    assert all(isinstance(update, Update) for update in decoded)


@pytest.mark.parametrize("value", [b"{}", b"[]", b'""', b'"ab"', b"1.5", b"999", b'{"a":[1]}'])
@pytest.mark.parametrize("around", [b'{"updates":[%s]}', b'{"x":[%s],"updates":[]}'])
def test_body_of_countless_values_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, value: bytes, around: bytes
) -> None:
    monkeypatch.setattr(decode, "orjson", None)
    monkeypatch.setattr(decode, "_decode_items", None)
    body = around % b",".join([value] * 1_500_001)
    with pytest.raises(InvalidInput, match="1500000 values: send less") as refusal:
        decode_batch(body, is_ndjson=False)
    assert list(refusal.value.errors) == ["body"]
    with pytest.raises(InvalidInput, match="1500000 values: send less"):
        decode_snapshots(body.replace(b"updates", b"snapshots"), SnapshotSchema())


@pytest.mark.parametrize("line", [b"{}", b"", b" ", ITEM])
def test_countless_lines_are_refused_before_they_are_parsed(
    monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(decode, "orjson", None)
    monkeypatch.setattr(decode, "_decode_items", None)
    with pytest.raises(InvalidInput, match="1500000 values: send less"):
        decode_batch(b"%s\n" % line * 1_500_001, is_ndjson=True)


def test_more_than_10000_snapshots_are_refused() -> None:
    body = b'{"snapshots":[' + b",".join([b'{"node_id":"n"}'] * 10_001) + b"]}"
    with pytest.raises(InvalidInput, match="snapshots"):
        decode_snapshots(body, SnapshotSchema())


def test_lack_of_memory_is_not_blamed_on_the_body() -> None:
    program = """
import resource
from app.schemas.decode import decode_batch
body = b'{"updates": [], "padding": "%s"}' % (b"x" * (16 << 20))
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmData")]
most = int(line.split()[1]) * 1024 + (20 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
try:
    decode_batch(body, is_ndjson=False)
except MemoryError:
    print("no memory")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "no memory\n", done.stderr
