"""Smoothed speed and the time left: never negative, unknown where there is nothing to tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_client.progress import Progress
from telemetry_client.tracker.throughput import (
    LONGEST_ETA_SECONDS,
    Pace,
    Throughput,
    eta_seconds,
)


def run(*samples: tuple[float, int]) -> Throughput:
    throughput = Throughput(10.0)
    for at_seconds, count in samples:
        throughput.sample(at_seconds, count)
    return throughput


def test_speed_is_unknown_before_the_second_sample() -> None:
    assert run().bps is None
    assert run((0.0, 500)).bps is None
    assert run((5.0, 500), (5.0, 900)).bps is None


def test_steady_speed_is_told_from_the_first_step_on() -> None:
    assert run((0.0, 0), (1.0, 100)).bps == 100
    assert run(*((n / 3, n * 100) for n in range(100))).bps == 300


def test_speed_follows_a_change_within_its_smoothing() -> None:
    fast = [(float(n), n * 1_000) for n in range(60)]
    slow = [(60.0 + n, 60_000 + n * 100) for n in range(60)]
    assert run(*fast, *slow[:5]).bps in range(400, 900)
    assert run(*fast, *slow).bps in range(100, 110)


def test_a_stall_brings_the_speed_down_to_zero() -> None:
    assert run((0.0, 0), (1.0, 1_000), *((float(n), 1_000) for n in range(2, 200))).bps == 0


def test_a_counter_that_restarts_is_not_a_speed() -> None:
    assert run((0.0, 1_000), (1.0, 1_100), (2.0, 0), (3.0, 100)).bps == 100


def test_samples_at_odd_intervals_weigh_by_their_time() -> None:
    assert run((0.0, 0), (0.001, 1_000), (10.0, 1_000)).bps in range(30, 110)


def test_a_speed_needs_a_second() -> None:
    """600 MB that needed no reading within 13 ms are not 44.9 GB/s."""
    assert run((0.0, 0), (0.013, 584_000_000)).bps is None
    assert run((0.0, 0), (0.5, 500), (0.99, 990)).bps is None
    assert run((0.0, 0), (0.5, 500), (1.0, 1_000)).bps == 1_000


def test_a_speed_stays_between_two_steps_and_decays_when_they_fail_to_come() -> None:
    steps = [(float(n), n * 1_000) for n in range(20)]
    speeds = [run(*steps, (19.0 + quiet, 19_000)).bps or 0 for quiet in (0, 1, 4.9, 6, 10, 14.9)]
    assert speeds[:3] == [1_000] * 3
    assert speeds[2:] == sorted(speeds[2:], reverse=True)
    assert speeds[-1] > 0
    assert run(*steps, (19.0 + 15.0, 19_000)).bps == 0  # three intervals of 5 s


def test_a_tool_that_reports_every_minute_is_not_silent_between() -> None:
    steps = [(60.0 * n, n * 60_000) for n in range(4)]
    assert run(*steps, (180.0 + 59.0, 180_000)).bps == 1_000
    assert run(*steps, (180.0 + 180.0, 180_000)).bps == 0


def test_a_stall_does_not_become_usual() -> None:
    before = [(float(n), n * 1_000) for n in range(10)]
    after = [(1_000.0 + n, 10_000 + n * 1_000) for n in range(3)]
    assert run(*before, *after, (1_002.0 + 15.0, 12_000)).bps == 0


def test_the_last_speed_of_a_job_that_hangs_is_not_repeated() -> None:
    """The heartbeat goes on with the last numbers that the job has reported."""
    pace = Pace(interval_seconds=5.0)
    hung = Progress(500, 1_000, speed_bps=123, eta_seconds=4)
    seen = [pace.add_to(hung, at_seconds) for at_seconds in (0.0, 14.9, 15.0)]
    assert [(now.speed_bps, now.eta_seconds) for now in seen] == [(123, 4), (123, 4), (0, None)]
    moving = pace.add_to(Progress(600, 1_000, speed_bps=50, eta_seconds=8), 16.0)
    assert (moving.speed_bps, moving.eta_seconds) == (50, 8)


def test_a_job_without_bytes_hangs_if_its_percent_does() -> None:
    pace = Pace(interval_seconds=5.0)
    hung = Progress(percent=40.0, speed_bps=7, eta_seconds=60)
    assert pace.add_to(hung, 0.0) == hung
    assert pace.add_to(hung, 20.0) == Progress(percent=40.0, speed_bps=0, eta_seconds=None)
    unknown = Progress(phase="dumping")
    assert pace.add_to(unknown, 99.0) == unknown


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2**63))))
def test_speed_is_never_negative(samples: list[tuple[float, int]]) -> None:
    speed = run(*samples).bps
    assert speed is None or speed >= 0


@pytest.mark.parametrize(
    ("done", "total", "speed", "eta"),
    [
        (0, 100, 10, 10),
        (0, 101, 10, 11),
        (100, 100, 0, 0),
        (120, 100, 5, 0),
        (50, 100, 0, None),
        (50, 100, None, None),
        (50, None, 10, None),
        (0, 0, 10, None),
        (None, 100, 10, None),
        (0, LONGEST_ETA_SECONDS, 1, LONGEST_ETA_SECONDS),
        (0, LONGEST_ETA_SECONDS + 1, 1, None),
    ],
)
def test_time_left(done: int, total: int, speed: int, eta: int | None) -> None:
    assert eta_seconds(done, total, speed) == eta
