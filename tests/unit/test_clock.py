"""Noticing that the clock of the machine was set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import ClockWatch
from tests.factories import NOW


@pytest.mark.parametrize(
    ("wall", "was_set"),
    [(1, False), (4, False), (-3, False), (3_601, True), (-3_599, True), (7, True), (-5, True)],
)
def test_a_clock_that_was_set_is_noticed_once(wall: int, was_set: bool) -> None:
    seconds = [0, 0]
    watch = ClockWatch(lambda: NOW + timedelta(seconds=seconds[0]), lambda: seconds[1])
    seconds[:] = [wall, 1]
    assert watch.was_set() is was_set
    seconds[:] = [wall + 1, 2]
    assert not watch.was_set()
