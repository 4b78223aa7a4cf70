"""Which rollups a series has, and which part of them a refresh may touch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.rollups import (
    MINUTE_ROLLUPS,
    RAW_SERIES,
    ROLLUPS,
    Rollup,
    rollups_of,
    whole_buckets,
)
from app.domain.window import Window

MINUTES, HOURS = ROLLUPS[0], ROLLUPS[1]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-10 {text}+00:00")


def test_each_rollup_follows_its_source() -> None:
    seen = set(RAW_SERIES)
    for rollup in ROLLUPS:
        assert rollup.source in seen
        seen.add(rollup.name)


def test_the_rollups_of_a_series_are_those_made_from_it_directly_or_not() -> None:
    assert [rollup.name for rollup in rollups_of("job_telemetry")] == [
        "job_speed_1m",
        "job_speed_1h",
    ]
    assert [rollup.name for rollup in rollups_of("job_speed_1m")] == ["job_speed_1h"]
    assert [rollup.name for rollup in rollups_of("disk_speed_1m")] == ["disk_speed_1h"]
    assert rollups_of("disk_speed_1h") == rollups_of("job_speed_1h") == []


def test_only_minutes_are_dropped() -> None:
    dropped = {rollup.name for rollup in ROLLUPS if rollup.bucket == timedelta(minutes=1)}
    assert dropped == set(MINUTE_ROLLUPS)


@pytest.mark.parametrize(
    ("rollup", "start", "end", "window"),
    [
        (MINUTES, at("10:00"), at("11:00"), (at("10:00"), at("11:00"))),
        (MINUTES, at("10:00:00.000001"), at("11:00:59"), (at("10:01"), at("11:00"))),
        (HOURS, at("10:00"), at("11:00"), (at("10:00"), at("11:00"))),
        (HOURS, at("10:01"), at("12:59"), (at("11:00"), at("12:00"))),
    ],
)
def test_a_window_is_of_whole_buckets(
    rollup: Rollup, start: datetime, end: datetime, window: tuple[datetime, datetime]
) -> None:
    assert whole_buckets(rollup, start, end) == Window(*window)


@pytest.mark.parametrize(
    ("start", "end"),
    [(at("10:01"), at("10:59")), (at("10:30"), at("11:30")), (at("09:00"), at("08:00"))],
)
def test_a_window_without_a_whole_bucket_is_empty(start: datetime, end: datetime) -> None:
    assert whole_buckets(HOURS, start, end).is_empty


def test_a_window_never_begins_before_the_edge() -> None:
    window = whole_buckets(HOURS, at("08:00"), at("12:00"), edge=at("10:30"))
    assert window == Window(at("11:00"), at("12:00"))
    assert whole_buckets(HOURS, at("08:00"), at("12:00"), edge=at("13:00")).is_empty


@pytest.mark.parametrize("end", [datetime.max.replace(tzinfo=UTC), at("10:00")])
def test_a_window_that_is_none_is_empty(end: datetime) -> None:
    assert whole_buckets(HOURS, datetime.max.replace(tzinfo=UTC), end).is_empty
