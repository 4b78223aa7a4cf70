"""How long jobs ran, and how long they still need."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.estimates import (
    LONGEST_SECONDS,
    Count,
    Pace,
    Profile,
    Sample,
    TimeLeft,
    duration_seconds,
    job_time_left,
    time_at,
    time_left,
)
from bench import eta

START = datetime(2025, 10, 10, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def moved(*counts: tuple[float, float]) -> list[Sample]:
    """Samples from (seconds, done), newest last."""
    return [Sample(at, done) for at, done in reversed(counts)]


def left(samples: Sequence[Sample], total: float = 1000, **more: Any) -> TimeLeft:
    return time_left(samples, total, **{"elapsed": samples[0].at if samples else 0, **more})


# The rate.


def test_the_rest_goes_at_the_pace_of_now() -> None:
    assert left(moved((0, 0), (100, 400))) == TimeLeft(150, 135, 165, "rate")


def test_an_estimate_is_rounded_up() -> None:
    assert left(moved((0, 0), (100, 999))).seconds == 1


def test_a_slower_pace_counts_from_when_it_began() -> None:
    samples = moved((0, 0), (400, 400), (800, 800), (840, 804), (880, 808), (900, 810))
    assert left(samples).seconds == 1900  # the mean rate says 212


def test_the_time_left_of_a_stuck_job_does_not_grow() -> None:
    """By its rate, and by earlier runs; after five minutes it is not known."""
    for earlier in ([], [NIGHT, NIGHT]):
        moving = moved((0, 0), (800, 200), (1000, 400))
        stuck = [left(moved((0, 0), (800, 200), (1000, 400), (1000 + idle, 400)), earlier=earlier)
                 for idle in (5, 60, 299)]  # fmt: skip
        assert stuck == [left(moving, earlier=earlier)] * 3
        assert left(moved((0, 0), (1000, 400), (1300, 400)), earlier=earlier).seconds is None


def test_what_comes_before_a_restart_does_not_count() -> None:
    assert left(moved((0, 0), (900, 900), (910, 0), (1000, 90))).seconds == 910


def test_another_phase_does_not_count() -> None:
    samples = [
        Sample(1090, 900, "transferring"),
        Sample(1000, 0, "transferring"),
        Sample(500, 0, "snapshot"),
        Sample(0, 0, "snapshot"),
    ]
    assert left(samples).seconds == 10


def test_a_phase_that_is_not_named_is_the_same() -> None:
    samples = [Sample(100, 500, "transferring"), Sample(50, 250), Sample(0, 0)]
    assert left(samples).seconds == 100


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_pause_does_not_count(is_silent: bool) -> None:
    hours = 5 * 3600
    samples = [
        Sample(hours + 90, 980),
        Sample(hours + 80, 970),
        Sample(hours + 70, 960),
        *([] if is_silent else [Sample(hours + 10, 900), Sample(4000, 900)]),
        Sample(900, 900, None, hours - 890 if is_silent else 0),
        Sample(0, 0),
    ]
    assert left(samples).seconds == 20


def test_nothing_moves() -> None:
    nothing = left(moved((0, 0), (100, 400), (200, 400), (1000, 400)))
    assert nothing == TimeLeft(None, reason="Nothing has moved for 15 minutes.")
    assert left(moved((0, 0), (100, 400), (200, 400))).seconds is not None


@pytest.mark.parametrize(
    ("samples", "total", "reason"),
    [
        ([], 1000, "No progress is known."),
        (moved((0, 0), (100, 400)), 0, "Neither a total nor a percent is known."),
        (moved((0, 0), (100, 0)), 1000, "Nothing has moved yet."),
        (moved((0, 0), (900, 0)), 1000, "Nothing has moved yet."),
        (moved((100, 400)), 1000, "It has not moved for long enough."),
        (moved((0, 0), (100, 1000)), 1000, "All is moved; the job has not reported its end."),
        (moved((0, 0), (100, 1001)), 1000, "All is moved; the job has not reported its end."),
        (moved((0, 0), (100, 1)), LONGEST_SECONDS, "It moves too slowly for an estimate."),
    ],
)
def test_no_estimate_has_a_reason(samples: list[Sample], total: float, reason: str) -> None:
    assert left(samples, total) == TimeLeft(None, reason=reason)


def test_the_range_holds_the_paces_that_were_seen() -> None:
    answer = left(moved((0, 0), (10, 120), (20, 210), (30, 300), (40, 400)))
    assert answer.low is not None
    assert answer.high is not None
    assert answer.seconds is not None
    assert 0 <= answer.low <= answer.seconds <= answer.high


def test_an_even_run_never_needs_longer_than_it_did() -> None:
    run = eta.Run([Sample(5.0 * n, 1e8 * n, "transferring") for n in range(400)], 4e10, 2000)
    estimates = [
        left(eta.samples_at(run, position), run.total, elapsed=5.0 * position).seconds
        for position in range(3, 400)
    ]
    assert estimates == sorted(estimates, key=lambda seconds: -(seconds or 0))


# Earlier runs.


def profile(*points: tuple[float, float], seconds: float) -> Profile:
    return Profile([at for at, _ in points], [percent for _, percent in points], seconds)


NIGHT = profile((0, 0), (600, 0), (1000, 50), (1800, 100), seconds=2000)


def test_a_profile_is_read_between_its_points() -> None:
    assert time_at(NIGHT, 25) == 800
    assert time_at(NIGHT, 100) == 1800
    assert time_at(NIGHT, 0) == 600
    assert time_at(profile((100, 50), seconds=200), 25) == 50
    assert time_at(profile(seconds=200), 25) is None


def test_earlier_runs_know_what_comes_after_the_bytes() -> None:
    answer = left(moved((600, 0), (1700, 1000), (1800, 1000)), earlier=[NIGHT, NIGHT])
    assert (answer.seconds, answer.basis) == (200, "history")


def test_earlier_runs_know_how_long_it_takes_before_anything_has_moved() -> None:
    answer = left(moved((0, 0), (600, 0)), earlier=[NIGHT, NIGHT])
    assert (answer.seconds, answer.basis) == (1400, "history")


def test_a_run_that_is_much_slower_is_not_like_the_earlier_ones() -> None:
    answer = left(moved((0, 0), (9000, 500)), earlier=[NIGHT, NIGHT])
    assert (answer.seconds, answer.basis) == (9000, "rate")


def test_earlier_runs_that_differ_are_worth_less_than_the_rate() -> None:
    others = [
        profile((0, 0), (1000, 50), (2000, 100), seconds=2000),
        profile((0, 0), (1000, 50), (2000, 100), seconds=9000),
        profile((0, 0), (1000, 50), (2000, 100), seconds=2010),
    ]
    assert left(moved((0, 0), (500, 250), (1000, 500)), earlier=others).basis == "rate"


# A job.


def job(**changes: Any) -> TimeLeft | None:
    known: dict[str, Any] = {
        "status": "running",
        "bytes_transferred": 400,
        "total_bytes": 1000,
        "started_at": START,
        "newest_update_at": after(100),
        "pace": Pace([counted(100, 400, None), counted(0, 0, None)], ()),
    }
    return job_time_left(**(known | changes))


def counted(seconds: float, done: int | None, percent: float | None) -> Count:
    return Count(after(seconds), done, percent, None, 0.0)


def seconds_of(answer: TimeLeft | None) -> int | None:
    assert answer is not None
    return answer.seconds


def test_a_job_goes_by_its_bytes() -> None:
    assert seconds_of(job()) == 150


def test_a_job_without_a_total_goes_by_its_percent() -> None:
    pace = Pace([counted(100, 400, 20), counted(0, 0, 0)], ())
    answer = job(total_bytes=0, pace=pace)
    assert answer is not None
    assert (answer.seconds, answer.basis) == (400, "percent")


def test_a_job_whose_disks_report_goes_by_their_mean() -> None:
    assert seconds_of(job(pace=Pace([], ()))) == 150


def test_a_stalled_job_has_a_reason_only() -> None:
    assert job(status="stalled", pace=None) == TimeLeft(
        None, reason="The job is stalled: no updates arrive."
    )


@pytest.mark.parametrize("status", ["pending", "completed", "failed", "cancelled"])
def test_a_job_that_is_not_live_has_no_estimate(status: str) -> None:
    assert job(status=status) is None


# Shapes of runs.


def test_estimates_are_right_over_the_shapes_of_runs() -> None:
    assert eta.verdicts(eta.simulate(runs=15)) == []


def test_no_estimate_is_negative_or_outside_its_range() -> None:
    for name, shape in eta.SHAPES.items():
        run = eta.make_run(shape, random.Random(name))
        for position in range(1, len(run.samples), 7):
            samples = eta.samples_at(run, position)
            answer = left(samples, run.total, elapsed=samples[0].at)
            if answer.seconds is None:
                assert answer.reason
                continue
            assert answer.low is not None
            assert answer.high is not None
            assert 0 <= answer.low <= answer.seconds <= answer.high


# Durations.


def test_duration_runs_to_the_end() -> None:
    assert duration_seconds(START, after(12.5), after(11)) == 12.5


def test_duration_of_a_live_job_runs_to_its_newest_update() -> None:
    assert duration_seconds(START, None, after(11)) == 11.0


def test_duration_is_unknown_before_the_first_update() -> None:
    assert duration_seconds(START, None, None) is None


def test_duration_is_never_negative() -> None:
    assert duration_seconds(START, after(-5), None) == 0.0
