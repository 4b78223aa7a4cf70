"""When a series usually runs: learnt from the starts of its runs, or from a schedule.

A series has a rhythm if most distances between its runs are alike. A distance is compared with
those after the same day of the week, so that a job that rests at weekends is not expected then.
Days are UTC days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

from cronsim import CronSim

FEWEST_RUNS = 4
MOST_RUNS = 60
MOST_DISTANCES = 20
# A run is overdue after half a distance more than expected, and a tenth of what was to be waited.
LATE_SHARE = 0.5
LATE_EXTRA = 0.1
ALIKE = 0.25  # a distance is alike if it differs by less than this share
REGULAR_SHARE = 0.6  # of the distances are alike in a rhythm
# A start within a tenth of the usual distance after another is a retry, or made by hand.
_AGAIN_SHARE = 0.1
_WEEKEND = (5, 6)
_DAY = timedelta(days=1)


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
    """The rhythm of a series from the starts of its completed runs, ascending; None without one."""
    starts = _without_repeats(starts[-MOST_RUNS:])
    if len(starts) < FEWEST_RUNS:
        return None
    distances = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    usual = median(distances[-MOST_DISTANCES:])
    by_day: dict[int, list[float]] = defaultdict(list)
    for start, distance in zip(starts, distances, strict=False):
        by_day[start.weekday()].append(distance)

    def expected_after(start: datetime) -> float:
        after_this_day = by_day[start.weekday()]
        return median(after_this_day) if len(after_this_day) > 1 else usual

    alike = [
        abs(distance - expected_after(start)) <= ALIKE * expected_after(start)
        for start, distance in zip(starts, distances, strict=False)
    ][-MOST_DISTANCES:]
    if sum(alike) < REGULAR_SHARE * len(alike):
        return None
    next_at = starts[-1] + timedelta(seconds=expected_after(starts[-1]))
    if usual > 0.75 * _DAY.total_seconds():
        next_at = _after_rest(next_at, {start.weekday() for start in starts})
    waited = (next_at - starts[-1]).total_seconds()
    late = LATE_SHARE * min(usual, waited) + LATE_EXTRA * waited
    return Rhythm(usual, next_at, next_at + timedelta(seconds=late))


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


def _without_repeats(starts: Sequence[datetime]) -> list[datetime]:
    """The starts without those shortly after another one."""
    distances = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    if not distances:
        return list(starts)
    # Repeats are the small distances: the usual one is looked for among the larger half.
    usual = median(sorted(distances)[len(distances) // 2 :])
    kept = [starts[0]]
    for start in starts[1:]:
        if (start - kept[-1]).total_seconds() > _AGAIN_SHARE * usual:
            kept.append(start)
    return kept


def _after_rest(at: datetime, days: set[int]) -> datetime:
    """The same instant, on the next day that is not a weekend day on which nothing ever ran."""
    while at.weekday() in _WEEKEND and at.weekday() not in days:
        at += _DAY
    return at
