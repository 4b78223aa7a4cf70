"""The maths of charts: windows, steps, points, statistics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.chart import (
    NICE_STEPS_SECONDS,
    Bucket,
    choose_step,
    choose_window,
    effective_speed,
    job_span,
    seconds_since,
    summarise,
    to_points,
    window_step,
)
from app.domain.window import EPOCH, LATEST, Window

START = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
LARGEST = 2**63 - 1


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def make_bucket(seconds: float = 0, *speeds: int, **changes: Any) -> Bucket:
    """A bucket of updates with these speeds."""
    moving = [speed for speed in speeds if speed > 0]
    values: dict[str, Any] = {
        "at": after(seconds),
        "updates": len(speeds),
        "speed_sum": float(sum(speeds)) if speeds else None,
        "speed_count": len(speeds),
        "speed_min": min(speeds, default=None),
        "speed_max": max(speeds, default=None),
        "moving_count": len(moving),
        "moving_min": min(moving, default=None),
        "progress_bp": None,
        "bytes": None,
        **changes,
    }
    return Bucket(**values)


def buckets_of(window: Window, step: int) -> int:
    wide = window.widened(step)
    return (wide.before_at - wide.from_at) // timedelta(seconds=step)


# Steps.


@pytest.mark.parametrize(
    ("seconds", "points", "step"),
    [
        (0, 10, 1),
        (10, 10, 1),
        (11, 10, 2),
        (300, 300, 1),
        (3600, 300, 15),
        (86_400, 300, 300),
        (86_400, 5000, 30),
        (86_400, 10, 10_800),
        (30 * 86_400, 300, 10_800),
        (3650 * 86_400, 300, 13 * 86_400),
    ],
)
def test_a_day_or_a_decade_is_cut_into_a_nice_number_of_buckets(
    seconds: int, points: int, step: int
) -> None:
    assert choose_step(0, seconds, points) == step


# Hypothesis takes naive bounds only.
FIRST, LAST = datetime(1970, 1, 2), datetime(2199, 1, 1)  # noqa: DTZ001
instants = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


@given(st.tuples(instants, instants).map(sorted), st.integers(10, 5000))
def test_the_step_is_the_smallest_that_needs_no_more_buckets_than_points(
    ends: list[datetime], points: int
) -> None:
    window = Window(*ends)
    step = window_step(window, points)
    assert buckets_of(window, step) <= points
    if step in NICE_STEPS_SECONDS:
        smaller = [nice for nice in NICE_STEPS_SECONDS if nice < step]
    else:
        assert step % 86_400 == 0
        smaller = [86_400, step - 86_400]
    assert all(buckets_of(window, each) > points for each in smaller)


@given(st.tuples(instants, instants).map(sorted), st.sampled_from(NICE_STEPS_SECONDS))
def test_a_widened_window_is_whole_steps_and_widens_no_further(
    ends: list[datetime], step: int
) -> None:
    window = Window(*ends)
    wide = window.widened(step)
    assert wide.from_at <= window.from_at <= window.before_at <= wide.before_at
    assert (wide.from_at - EPOCH) % timedelta(seconds=step) == timedelta(0)
    assert (wide.before_at - EPOCH) % timedelta(seconds=step) == timedelta(0)
    assert wide.before_at - wide.from_at < window.before_at - window.from_at + 2 * timedelta(
        seconds=step
    )
    assert wide.widened(step) == wide


def test_the_last_instant_there_is_can_be_in_a_window() -> None:
    window = Window(START, LATEST - timedelta(seconds=1))
    assert window.widened(86_400).before_at == LATEST


# Windows.


def test_the_span_of_a_job_holds_its_newest_update() -> None:
    assert job_span(START, after(10.5)) == Window(START, after(11))
    assert job_span(START, after(10)) == Window(START, after(11))


def test_a_job_without_updates_spans_nothing() -> None:
    assert job_span(START, None) == Window(START, START)


def test_without_a_question_the_window_is_the_span() -> None:
    span = Window(START, START + HOUR)
    assert choose_window(span, None, None) == span


def test_a_window_open_at_one_end_reaches_to_the_span_or_is_empty() -> None:
    span = Window(START, START + HOUR)
    assert choose_window(span, after(60), None) == Window(after(60), START + HOUR)
    assert choose_window(span, None, after(60)) == Window(START, after(60))
    assert choose_window(span, START + 2 * HOUR, None) == Window(START + 2 * HOUR, START + 2 * HOUR)
    assert choose_window(span, None, START - HOUR) == Window(START - HOUR, START - HOUR)


def test_a_window_before_1970_begins_there() -> None:
    window = choose_window(
        Window(START, START + HOUR), datetime(1, 1, 1, tzinfo=UTC), datetime(2, 1, 1, tzinfo=UTC)
    )
    assert window == Window(EPOCH, EPOCH)


def test_the_part_of_a_window_within_another() -> None:
    span = Window(START, START + HOUR)
    assert Window(after(-60), after(60)).within(span) == Window(START, after(60))
    assert Window(after(-60), after(-30)).within(span) == Window(START, START)
    assert Window(START + 2 * HOUR, START + 3 * HOUR).within(span) == Window(
        START + HOUR, START + HOUR
    )


# Points.


def test_a_point_has_mean_and_extremes_and_the_last_values() -> None:
    bucket = make_bucket(30, 10, 0, 21, progress_bp=3333, bytes=500)
    assert to_points([bucket], START, None) == [(30.0, 10.33, 0, 21, 33.33, 500)]


def test_what_was_not_reported_is_null() -> None:
    assert to_points([make_bucket(0, updates=3)], START, None) == [
        (0, None, None, None, None, None)
    ]


def test_a_single_update_keeps_its_exact_speed() -> None:
    [point] = to_points([make_bucket(0, LARGEST)], START, None)
    assert (point.s, point.s_min, point.s_max) == (LARGEST, LARGEST, LARGEST)


def test_a_mean_never_leaves_its_range() -> None:
    [point] = to_points([make_bucket(0, LARGEST, LARGEST, LARGEST - 1)], START, None)
    assert point.s is not None
    assert LARGEST - 1 <= point.s <= LARGEST


def test_a_percent_follows_from_the_bytes_where_none_was_reported() -> None:
    buckets = [make_bucket(bytes=1), make_bucket(bytes=2, progress_bp=5000), make_bucket(bytes=9)]
    assert [point.p for point in to_points(buckets, START, 3)] == [33.33, 50.0, 99.99]


def test_a_computed_percent_is_100_only_once_the_job_has_completed() -> None:
    buckets = [make_bucket(bytes=done) for done in (99_998, 99_999, 100_000, 200_000)]
    running = to_points(buckets, START, 100_000)
    completed = to_points(buckets, START, 100_000, has_completed=True)
    assert [point.p for point in running] == [99.99] * 4
    assert [point.p for point in completed] == [99.99, 99.99, 100.0, 100.0]
    assert to_points([make_bucket(bytes=1, progress_bp=10_000)], START, 2)[0].p == 100.0


def test_no_percent_follows_from_an_unknown_total() -> None:
    buckets = [make_bucket(bytes=1)]
    assert to_points(buckets, START, 0)[0].p is None
    assert to_points(buckets, START, None)[0].p is None


def test_seconds_have_milliseconds_and_never_precede_the_start() -> None:
    assert seconds_since(START, after(1.23456)) == 1.235
    assert seconds_since(START, after(-7)) == 0


def test_a_phase_is_not_cut_twice() -> None:
    """Its ends are cut to milliseconds, so the start of its job is as well."""
    began = after(0.0007)
    assert seconds_since(began, after(70.0)) == 70
    assert seconds_since(began, after(0.0)) == 0


# Statistics.


def test_statistics_are_about_speeds_above_zero() -> None:
    statistics = summarise([make_bucket(0, 0, 0), make_bucket(5, 0, 30, 10), make_bucket(10, 5)])
    assert statistics.updates == 6
    assert statistics.peak_speed_bps == 30
    assert statistics.avg_speed_bps == 15.0
    assert statistics.min_speed_bps == 5


@pytest.mark.parametrize("buckets", [[], [make_bucket(0, 0, 0)], [make_bucket(0, updates=2)]])
def test_statistics_of_no_speed_are_null(buckets: list[Bucket]) -> None:
    statistics = summarise(buckets)
    assert statistics.updates == sum(bucket.updates for bucket in buckets)
    assert statistics.peak_speed_bps is None
    assert statistics.avg_speed_bps is None
    assert statistics.min_speed_bps is None


def test_the_average_weighs_updates_and_not_buckets() -> None:
    assert summarise([make_bucket(0, 10, 10, 10), make_bucket(5, 50)]).avg_speed_bps == 20.0


def test_the_average_of_the_largest_speeds_is_no_larger() -> None:
    buckets = [make_bucket(second, LARGEST, LARGEST) for second in range(1000)]
    assert summarise(buckets).avg_speed_bps == LARGEST


def test_the_effective_speed_is_unknown_without_bytes_or_time() -> None:
    assert effective_speed(1000, 3.0) == 333.33
    assert effective_speed(0, 3.0) is None
    assert effective_speed(1000, 0.0) is None
    assert effective_speed(1000, None) is None
