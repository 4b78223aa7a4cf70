"""The body of an update: complete, real, small, and always one the hub takes."""

from __future__ import annotations

import enum
import json
import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.schemas.decode import decode_batch, decode_update
from app.schemas.fields import identifier_problem, normalise_identifier
from app.schemas.updates import job_type_problem as hub_job_type_problem
from telemetry_client.progress import DiskProgress, Progress, percent_of
from telemetry_client.tracker.disk_changes import DiskChanges
from telemetry_client.wire.body import LARGEST_BODY, disk_bodies, size_of, to_body
from telemetry_client.wire.cleaning import (
    clean_integer,
    clean_progress,
    clean_text,
    job_id_problem,
    job_type_problem,
)
from telemetry_client.wire.timestamps import Stamps, now_stamp

TERABYTE = 2**40


class Hostile(str):
    """Text that says of itself whatever it likes."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def encode(self, *args: Any) -> bytes:
        raise RuntimeError("no")


class Size(enum.IntEnum):
    BIG = 7


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no")


def body_of(progress: Progress, **options: Any) -> dict[str, Any]:
    return to_body(clean_progress(progress), job_id="backup-vm1-1", job_type="backup", **options)


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [
        (50, 100, 50.0),
        (1, 3, 33.33),
        (99_999, 100_000, 99.99),  # only all of it is 100
        (100, 100, 100.0),
        (101, 100, None),  # then it is not the total
        (0, 100, 0.0),
        (0, 0, None),
        (5, None, None),
        (None, 5, None),
        (-1, 100, None),
        (2**62, 2**63, 50.0),
    ],
)
def test_percent_is_computed_from_bytes(done: Any, total: Any, percent: float | None) -> None:
    assert percent_of(done, total) == percent


def test_body_names_everything_that_is_known() -> None:
    disk = DiskProgress(0, 25, 50, 10, "transferring")
    body = body_of(Progress(50, 100, 10, 5, "transferring", (disk,), error="slow"))
    stamp = body.pop("timestamp")
    assert datetime.fromisoformat(stamp).tzinfo is not None
    assert body == {
        "job_id": "backup-vm1-1",
        "job_type": "backup",
        "status": "running",
        "current_phase": "transferring",
        "bytes_transferred": 50,
        "total_bytes": 100,
        "transfer_speed_bps": 10,
        "eta_seconds": 5,
        "progress_percent": 50.0,
        "error": "slow",
        "disks": [
            {
                "disk_index": 0,
                "bytes_transferred": 25,
                "total_bytes": 50,
                "transfer_speed_bps": 10,
                "progress_percent": 50.0,
                "status": "transferring",
            }
        ],
    }


def test_unknown_is_left_out_and_never_zero() -> None:
    assert set(body_of(Progress())) == {"job_id", "job_type", "status", "timestamp"}


def test_tools_percent_counts_only_where_there_are_no_bytes() -> None:
    assert body_of(Progress(percent=12.345))["progress_percent"] == 12.34
    assert body_of(Progress(1, 2, percent=12.0))["progress_percent"] == 50.0


def test_completed_job_is_whole() -> None:
    body = body_of(Progress(1, 2, eta_seconds=9), status="completed")
    assert (body["progress_percent"], body["eta_seconds"]) == (100.0, 0)


@pytest.mark.parametrize(
    "value", [-1, 2**63, 10**4000, math.nan, math.inf, -math.inf, True, "12", b"1", [], object()]
)
def test_what_is_not_a_number_is_left_out_with_a_complaint(value: Any) -> None:
    warnings: list[str] = []
    assert (
        clean_integer(value, "bytes", lambda *warning: warnings.append(": ".join(warning))) is None
    )
    assert len(warnings) == 1
    assert warnings[0].startswith("bytes: ")


@pytest.mark.parametrize(("value", "clean"), [(1.9, 1), (Size.BIG, 7), (0, 0), (2**63 - 1,) * 2])
def test_numbers_of_other_types_are_taken(value: Any, clean: int) -> None:
    result = clean_integer(value, "bytes")
    assert result == clean
    assert type(result) is int


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),  # two halves that make a character
        ("a\0b", "ab"),
        ("x" * 300, "x" * 254 + "…"),
        ("", None),
        pytest.param(Hostile("phase"), "phase", id="a subclass"),
        (7, "7"),
        pytest.param(Silent(), None, id="no text"),
    ],
)
def test_text_is_made_what_the_hub_takes(text: Any, clean: str | None) -> None:
    result = clean_text(text, "phase")
    assert result == clean
    assert type(result) in (str, type(None))


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters()),
    st.text(alphabet=st.characters(categories=("Cs", "Cc", "Lu"))),
)
disks = st.builds(DiskProgress, anything, anything, anything, anything, anything, anything)


@settings(max_examples=300)
@given(
    progress=st.builds(
        Progress,
        *(anything,) * 5,
        disks=st.lists(disks, max_size=4).map(tuple),
        percent=anything,
        error=anything,
    ),
    status=st.sampled_from(["running", "completed", "failed", "cancelled"]),
)
def test_the_hub_takes_every_update_whatever_the_job_gave(progress: Progress, status: str) -> None:
    body = body_of(progress, status=status)
    raw = json.dumps(body, allow_nan=False).encode()
    update = decode_update(raw, "backup", "backup-vm1-1")
    assert not update.notes  # nor has it anything to correct
    (item,) = decode_batch(b'{"updates":[' + raw + b"]}", is_ndjson=False)
    assert not isinstance(item, dict), item


@given(st.one_of(st.text(max_size=300), st.sampled_from([".", "..", "summary", "a/b", "x" * 256])))
def test_ids_and_types_are_judged_as_the_hub_judges_them(text: str) -> None:
    assert (job_id_problem(text) is None) == (
        identifier_problem(normalise_identifier(text)) is None
    )
    assert (job_type_problem(text) is None) == (hub_job_type_problem(text) is None)


def test_stamps_increase_strictly_even_in_one_instant() -> None:
    stamps = Stamps()
    at = (1_700_000_000_000_000_000, 5_000_000_000)
    taken = [stamps.take(at) for _ in range(3)]
    assert taken == [f"2023-11-14T22:13:20.00000{n}Z" for n in range(3)]


def test_stamps_go_on_at_their_pace_when_the_clock_is_set_back() -> None:
    stamps, second = Stamps(), 1_000_000_000
    stamps.take((1_700_000_000 * second, 5 * second))
    later = stamps.take((1_600_000_000 * second, 7 * second))
    assert later == "2023-11-14T22:13:22.000000Z"
    assert stamps.take((1_700_000_100 * second, 8 * second)) == "2023-11-14T22:15:00.000000Z"


def test_now_is_in_utc() -> None:
    offset = datetime.fromisoformat(now_stamp()).utcoffset()
    assert offset is not None
    assert not offset


def many_disks(count: int, done: int) -> list[dict[str, Any]]:
    return disk_bodies(
        DiskProgress(n, done + n, TERABYTE, 123_456_789, "transferring") for n in range(count)
    )


@pytest.mark.parametrize("count", [1, 8, 64, 1024])
def test_disks_never_make_an_update_large_and_all_are_told(count: int) -> None:
    news, reported = DiskChanges(), set()
    base = body_of(Progress(TERABYTE, 8 * TERABYTE, 123_456_789, 99_999, "transferring"))
    room = LARGEST_BODY - size_of(base) - len(',"disks":[]')
    for _ in range(count):
        sent, waiting = news.take(many_disks(count, TERABYTE // 2), room)
        reported |= {disk["disk_index"] for disk in sent}
        assert size_of({**base, "disks": sent}) < 1_024
        if not waiting:
            break
    assert reported == set(range(count))


def test_unchanged_disks_are_not_told_again_until_an_update_is_lost() -> None:
    news = DiskChanges()
    assert len(news.take(many_disks(2, 5), 1_000)[0]) == 2
    assert news.take(many_disks(2, 5), 1_000) == ([], 0)
    (changed, *_), _ = news.take(many_disks(2, 6), 1_000)
    assert changed == {"disk_index": 0, "bytes_transferred": 6}
    news.resend()
    assert "total_bytes" in news.take(many_disks(2, 6), 1_000)[0][0]


def test_disk_that_waited_longest_goes_first() -> None:
    news = DiskChanges()
    first, _ = news.take(many_disks(3, 1), 10)  # room for one only, in any case
    second, _ = news.take(many_disks(3, 2), 10)
    third, _ = news.take(many_disks(3, 3), 10)
    assert [sent[0]["disk_index"] for sent in (first, second, third)] == [0, 1, 2]
