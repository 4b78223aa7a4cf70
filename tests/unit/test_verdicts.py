"""What a soak makes of its measurements."""

from __future__ import annotations

import math

import pytest

from bench.verdicts import (
    Plan,
    judge_latency,
    judge_memory,
    judge_stored,
    median_within,
    quantile,
    slope_per_minute,
)

HALF_HOUR = Plan.of(30)


def test_half_an_hour_has_six_windows_of_five_minutes() -> None:
    assert (HALF_HOUR.warmup_seconds, HALF_HOUR.window_seconds, HALF_HOUR.windows) == (60, 300, 6)
    assert HALF_HOUR.seconds == 31 * 60
    assert HALF_HOUR.baseline == (300, 360)
    assert HALF_HOUR.ending == (1800, 1860)
    assert HALF_HOUR.last_third == (1260, 1860)


def test_a_short_run_has_three_short_windows() -> None:
    plan = Plan.of(2)
    assert (plan.warmup_seconds, plan.window_seconds, plan.windows) == (30, 40, 3)
    assert plan.baseline == (50, 70)
    assert plan.ending == (130, 150)


@pytest.mark.parametrize(
    ("at", "window"), [(0, None), (59.9, None), (60, 0), (359.9, 0), (360, 1), (1860, 5), (1900, 5)]
)
def test_windows_begin_after_the_warmup(at: float, window: int | None) -> None:
    assert HALF_HOUR.window_of(at) == window


def test_quantile_is_that_of_the_sorted_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 1) == 3.0
    assert math.isnan(quantile([], 0.5))


def test_median_and_slope_see_only_their_span() -> None:
    points = [(0.0, 100.0), *((60.0 * n, 10.0 + 2 * n) for n in range(1, 6))]
    assert median_within(points, (60, 180)) == 14.0
    assert slope_per_minute(points, (60, 300)) == pytest.approx(2.0)
    assert math.isnan(slope_per_minute(points, (60, 60)))


@pytest.mark.parametrize(
    ("windows", "holds"),
    [([0.1, 9.0, 0.15], True), ([0.1, 0.1, 0.16], False), ([0.1, math.nan], False)],
)
def test_latency_is_the_last_window_against_the_first(windows: list[float], holds: bool) -> None:
    assert judge_latency(windows).holds is holds


@pytest.mark.parametrize(("end", "holds"), [(109.0, True), (111.0, False)])
def test_memory_is_the_end_against_the_first_window(end: float, holds: bool) -> None:
    """What it took to begin is no matter, nor is a peak in between."""
    points = [(10.0, 20.0), (350.0, 100.0), (900.0, 500.0), (1850.0, end)]
    verdict = judge_memory("web", points, HALF_HOUR)
    assert verdict.holds is holds
    assert str(verdict).startswith("ok " if holds else "FAILS")


def test_memory_that_was_never_seen_is_not_flat() -> None:
    assert not judge_memory("web", [], HALF_HOUR).holds


@pytest.mark.parametrize(
    ("stored", "holds", "text"),
    [
        ({"a": (3, 3), "b": (2, 2)}, True, "0 lost, 0 twice"),
        ({"a": (3, 3), "b": (3, 3)}, True, "0 lost"),  # sent, and its answer was lost
        ({"a": (3, 3), "b": (1, 1)}, False, "1 lost"),
        ({"a": (3, 3)}, False, "2 lost"),
        ({"a": (4, 3), "b": (2, 2)}, False, "1 twice"),
        ({"a": (3, 3), "b": (4, 4)}, False, "1 never sent"),
        ({"a": (5, 4), "b": (1, 1)}, False, "1 lost, 1 twice, 1 never sent"),
    ],
)
def test_acknowledged_against_stored(
    stored: dict[str, tuple[int, int]], holds: bool, text: str
) -> None:
    verdict = judge_stored({"a": (3, 3), "b": (3, 2)}, stored)
    assert verdict.holds is holds
    assert text in verdict.text


def test_nothing_acknowledged_proves_nothing() -> None:
    assert not judge_stored({"a": (3, 0)}, {}).holds
