"""When a series usually runs: learnt from the starts of its runs, or from a schedule.

A series has a rhythm if most distances between its runs are alike. What is expected after a run is
what followed runs at the same time of earlier weeks, so that a job that rests at night or at
weekends is not expected then. Until two weeks say so, it is the usual distance, but not at a time
at which nothing ran a week before, and not at a weekend of which nothing is known yet.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median, median_high
from zoneinfo import ZoneInfo

from cronsim import CronSim

FEWEST_RUNS = 4
MOST_STARTS = 400  # of hourly runs more than two weeks
MOST_DISTANCES = 20
MOST_WEEKS = 5
# A run is overdue after half a distance more than expected, and a tenth of what was to be waited.
LATE_SHARE = 0.5
LATE_EXTRA = 0.1
ALIKE = 0.25  # a distance is alike if it differs by less than this share
REGULAR_SHARE = 0.6  # of the distances are alike in a rhythm
# A start within a tenth of the usual distance after another is a retry, or made by hand.
_AGAIN_SHARE = 0.1
_DAY = 86_400.0
_WEEK = 7 * _DAY
_SATURDAY = 5
# The same time of another week is less than half a distance away, and at most this. So a change to
# summer time does not matter.
_SAME_TIME_SHARE = 0.45
_SAME_TIME = 3 * 3_600.0
# Series with a larger distance have days between their runs anyway.
_LONGEST_WITH_REST = 1.25 * _DAY


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The usual distance of two runs, when the next is expected, and since when it is overdue."""

    distance_seconds: float
    next_at: datetime
    overdue_at: datetime

    @classmethod
    def after(cls, start: datetime, seconds: float) -> Rhythm:
        """The next run is overdue so many seconds after the last good one."""
        due = start + timedelta(seconds=seconds)
        return cls(seconds, due, due)


def learn_rhythm(starts: Sequence[datetime]) -> Rhythm | None:
    """The rhythm of a series from the starts of its good runs, ascending; None without one."""
    return learn_from_times([start.timestamp() for start in starts[-MOST_STARTS:]])


def learn_from_times(starts: Sequence[float]) -> Rhythm | None:
    """The same from seconds since 1970."""
    times = _without_repeats(starts[-MOST_STARTS:])
    if len(times) < FEWEST_RUNS:
        return None
    distances = [later - earlier for earlier, later in pairwise(times)]
    usual = median(distances[-MOST_DISTANCES:])
    recent = range(max(0, len(distances) - MOST_DISTANCES), len(distances))
    alike = sum(
        _is_alike(distances[n], usual) or _is_alike(distances[n], _expected_after(times, n, usual))
        for n in recent
    )
    # One of them is the median, and alike by itself.
    if alike < REGULAR_SHARE * len(recent) + 1:
        return None
    waited = _expected_after(times, len(times) - 1, usual)
    late = LATE_SHARE * min(usual, waited) + LATE_EXTRA * waited
    next_at = datetime.fromtimestamp(times[-1] + waited, UTC)
    return Rhythm(usual, next_at, next_at + timedelta(seconds=late))


def _is_alike(distance: float, expected: float) -> bool:
    return abs(distance - expected) <= ALIKE * expected


def _expected_after(times: Sequence[float], place: int, usual: float) -> float:
    """How long after a start the next is expected, by what was before."""
    tolerance = min(_SAME_TIME_SHARE * usual, _SAME_TIME)
    followed = []
    for weeks in range(1, MOST_WEEKS + 1):
        nearest = _nearest(times, times[place] - weeks * _WEEK)
        if abs(times[nearest] + weeks * _WEEK - times[place]) <= tolerance and nearest < place:
            followed.append(times[nearest + 1] - times[nearest])
    if len(followed) > 1:
        return median_high(followed)
    expected = max(usual, *followed) if followed else usual
    if usual > _LONGEST_WITH_REST:
        return expected
    return _after_rest(times, times[place] + expected, usual, tolerance) - times[place]


def _nearest(times: Sequence[float], time: float) -> int:
    """The place of the start that is nearest to a time."""
    after = bisect_left(times, time)
    if after == 0 or (after < len(times) and times[after] - time < time - times[after - 1]):
        return min(after, len(times) - 1)
    return after - 1


def _after_rest(times: Sequence[float], first: float, usual: float, tolerance: float) -> float:
    """The first of the times `first`, one distance later and so on at which a run is expected."""

    def ran_near(time: float) -> bool:
        return abs(times[_nearest(times, time)] - time) <= tolerance

    at = first
    while at < first + _WEEK:
        if at - _WEEK >= times[0] - tolerance:
            if ran_near(at - _WEEK):
                return at
        elif datetime.fromtimestamp(at, UTC).weekday() < _SATURDAY and (
            usual > _DAY / 2 or ran_near(at - _DAY)  # it may rest at night
        ):
            return at
        at += usual
    return first


def follow_schedule(schedule: str, zone: str, after: datetime) -> Rhythm:
    """The rhythm of a cron expression in a time zone, after the start of the last good run."""
    times = CronSim(schedule, after.astimezone(ZoneInfo(zone)))
    first = next(times)
    # A start a little before its time is the start of that time.
    second = next(times)
    if (first - after) < ALIKE * (second - first):
        first, second = second, next(times)
    distance = (second - first).total_seconds()
    waited = (first - after).total_seconds()
    late = LATE_SHARE * distance + LATE_EXTRA * waited
    return Rhythm(distance, first, first + timedelta(seconds=late))


def _without_repeats(times: Sequence[float]) -> list[float]:
    """The starts without those shortly after another one."""
    distances = [later - earlier for earlier, later in pairwise(times)]
    if not distances:
        return list(times)
    # Repeats are the small distances: the usual one is looked for among the larger half.
    usual = median(sorted(distances)[len(distances) // 2 :])
    kept = [times[0]]
    for time in times[1:]:
        if time - kept[-1] > _AGAIN_SHARE * usual:
            kept.append(time)
    return kept
