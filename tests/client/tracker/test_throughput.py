"""Smoothed speed and the time left: never negative, unknown where there is nothing to tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_client.tracker.throughput import LONGEST_ETA_SECONDS, Throughput, eta_seconds


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
