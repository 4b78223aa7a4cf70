"""What is usual for a series, and what is unusual or suspicious about a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attention.run import Run, judge
from app.domain.attention.usual import GoodRun, Pace, band, from_json, pace_of, to_json, usual_of

GIB = 2**30
HOUR = 3_600.0
START = datetime(2026, 11, 1, 22, tzinfo=UTC)


def good_runs(count: int, size: int | None = 100 * GIB, seconds: float = HOUR) -> list[GoodRun]:
    """So many runs, each a little different."""
    chance = random.Random(1)
    return [
        GoodRun(
            seconds * chance.uniform(0.9, 1.1),
            None if size is None else round(size * chance.uniform(0.9, 1.1)),
        )
        for _ in range(count)
    ]


def run(size: int | None = 100 * GIB, seconds: float = HOUR, **other: Any) -> Run:
    other = {"bytes": size, "total_bytes": size, **other}
    end = START + timedelta(seconds=seconds)
    return Run(1, "j", "j", 1, "completed", START, end, is_settled=True, **other)


def kinds(one: Run, before: Sequence[GoodRun]) -> list[str]:
    return [each.kind for each in judge(one, usual_of(before))]


@pytest.mark.parametrize(
    ("size", "seconds", "is_unusual"),
    [
        (GIB, HOUR, True),  # 1 GB after ten of 100 GB
        (100 * GIB, 9 * HOUR, True),  # 9 h after ten of 1 h
        (40 * GIB, HOUR, True),
        (260 * GIB, HOUR, True),
        (10_000 * GIB, 100 * HOUR, True),
        (60 * GIB, HOUR, False),
        (180 * GIB, 1.8 * HOUR, False),
        (100 * GIB, 1.9 * HOUR, False),
        (100 * GIB, 0.55 * HOUR, False),
        (100 * GIB, 60, True),
    ],
)
def test_a_run_is_compared_with_ten_of_an_hour_and_100_gib(
    size: int, seconds: float, is_unusual: bool
) -> None:
    assert bool(kinds(run(size, seconds), good_runs(10))) is is_unusual


def test_four_runs_say_nothing_and_five_do() -> None:
    assert kinds(run(GIB), good_runs(4)) == []
    assert kinds(run(GIB), good_runs(5)) == ["unusual"]


def test_small_differences_are_of_no_interest() -> None:
    tiny = good_runs(10, size=1_000, seconds=5)
    assert kinds(run(900_000, 50), tiny) == []
    assert kinds(run(2**30, 50), tiny) == ["unusual"]


def test_more_data_take_longer_and_are_one_finding() -> None:
    found = judge(run(1_000 * GIB, 10 * HOUR), usual_of(good_runs(10)))
    assert len(found) == 1
    assert found[0].summary.startswith("It moved 1000 GiB, ")


def test_a_small_run_is_not_slow_by_its_mean_speed() -> None:
    chance = random.Random(3)
    sizes = [count * GIB for count in (5, 20, 60, 10, 40, 80, 15, 30, 50, 25)]
    before = [GoodRun(300 + size / GIB * 10 * chance.uniform(0.9, 1.1), size) for size in sizes]
    assert kinds(run(4 * GIB, 340), before) == []


def test_a_sender_without_bytes_is_judged_by_its_duration() -> None:
    before = good_runs(10, size=None)
    assert kinds(run(None), before) == []
    assert kinds(run(None, 9 * HOUR), before) == ["unusual"]


def test_an_unusual_run_does_not_hide_the_next() -> None:
    before = [GoodRun(HOUR, GIB), *good_runs(10)]
    assert kinds(run(GIB), before) == ["unusual"]


def test_a_lasting_change_becomes_usual() -> None:
    before = good_runs(20)
    nights = 0
    while kinds(run(10 * GIB), before):
        before = [GoodRun(HOUR, 10 * GIB), *before]
        nights += 1
    assert nights <= 11


@pytest.mark.parametrize(
    ("end", "is_suspicious"),
    [
        ({"size": 0, "total_bytes": 52 * GIB}, True),  # 0 B of 52 GiB
        ({"size": 85, "total_bytes": 3_200_000}, True),  # 85 of 3,200,000 bytes
        ({"size": 989, "total_bytes": 1_000}, True),
        ({"size": 990, "total_bytes": 1_000}, False),
        ({"size": 0, "total_bytes": 0}, False),
        ({"size": None, "total_bytes": 1_000}, False),
        ({"size": None, "total_bytes": None, "percent": 98.0}, True),
        ({"size": None, "total_bytes": None, "percent": 99.0}, False),
        ({"size": 1_000, "percent": 50.0}, False),  # all bytes: the percent is an old one
        ({"is_dry_run": True}, True),
    ],
)
def test_what_a_run_reports_has_to_add_up(end: dict[str, Any], is_suspicious: bool) -> None:
    assert kinds(run(**end), ()) == (["suspicious"] if is_suspicious else [])


sizes = st.integers(2 * GIB, 10**14)


@given(st.lists(sizes, min_size=5, max_size=20), sizes, st.sampled_from([2, 16, 1024]))
def test_scaling_all_sizes_changes_no_verdict(before: list[int], size: int, factor: int) -> None:
    def verdict(scale: int) -> list[str]:
        runs = [GoodRun(HOUR, each * scale) for each in before]
        return kinds(run(size * scale), runs)

    usual = usual_of([GoodRun(HOUR, each) for each in before])
    edges = [] if usual.bytes is None else [usual.bytes.low, usual.bytes.high]
    if all(abs(size / edge - 1) > 1e-6 for edge in edges):
        assert verdict(factor) == verdict(1)


@given(st.lists(st.floats(1, 1e15), min_size=5, max_size=20), st.randoms())
def test_the_order_of_runs_does_not_change_what_is_usual(
    values: list[float], chance: random.Random
) -> None:
    shuffled = list(values)
    chance.shuffle(shuffled)
    assert band(shuffled) == pytest.approx(band(values)) or band(shuffled) == band(values)


@given(st.lists(st.floats(1, 1e15), min_size=5, max_size=20), st.floats(1.01, 2))
def test_a_value_within_the_factor_of_the_median_is_usual(
    values: list[float], factor: float
) -> None:
    found = band(values)
    assert found is not None
    for value in (found.median, found.median * factor * 0.999, found.median / factor * 1.001):
        assert found.ratio(value) is None


def test_what_is_usual_survives_being_stored() -> None:
    usual = usual_of(good_runs(10))
    assert from_json(to_json(usual)) == usual


def test_a_pace_is_the_least_of_earlier_runs() -> None:
    runs = [GoodRun(HOUR, 60 * GIB, [(0, 0), (HOUR, 60 * GIB)]) for _ in range(6)]
    pace = pace_of(runs)
    assert pace is not None
    assert pace.step_seconds == 180
    assert pace.least_bytes(100) == 0
    assert pace.least_bytes(HOUR / 2) == pytest.approx(27 * GIB)  # a step earlier
    assert pace.least_bytes(10 * HOUR) == pytest.approx(57 * GIB)
    assert not pace.is_behind(HOUR / 2, 15 * GIB)
    assert pace.is_behind(HOUR / 2, 9 * GIB)
    assert not pace.is_behind(HOUR / 2, 9 * GIB, total=15 * GIB)
    assert pace_of(runs[:4]) is None
    assert not Pace(180, [5]).is_behind(60, 0)
