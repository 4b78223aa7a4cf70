"""The days on which a run of a series is missing: one was expected, and none began.

What was expected on a day follows from the good runs before it, so that a change of habits does not
change the past. A run is missing only when it is overdue (`Rhythm.overdue_at`), and only on a day
on which nothing else of the series began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from app.domain.attention.rhythm import Rhythm, follow_schedule, learn_from_times
from app.domain.attention.series import RETIRED_AFTER
from app.domain.rules import Maintenance, RuleSet, Schedule, Subject

# Of a day of a series: what became of the run that counts, or that none began.
STATES = ("good", "warning", "failed", "cancelled", "running", "stalled", "missing")

# Of a series that runs more often, one time of a day is enough to know that the day has one.
_OFTEN_SECONDS = 6 * 3_600.0

# The next run after good ones, whose starts are seconds since 1970, ascending; None: no rhythm.
Follow = Callable[[Sequence[float]], Rhythm | None]


@dataclass(frozen=True, slots=True)
class Days:
    """Days of a time zone, ascending. Day `n` lasts from `bounds[n]` to before `bounds[n + 1]`.

    A day may have 23 or 25 hours. One that begins at noon holds a night, and has the date of its
    evening.
    """

    dates: tuple[date, ...]
    bounds: tuple[datetime, ...]  # UTC

    def index(self, at: datetime) -> int | None:
        """The day of an instant; None: of none of them."""
        place = bisect_right(self.bounds, at) - 1
        return place if 0 <= place < len(self.dates) else None


def last_days(count: int, now: datetime, zone: str, begins_hour: int = 0) -> Days:
    """So many days up to the one of `now`. Each begins at this hour of the clock in the zone."""
    local = ZoneInfo(zone)

    def begin(day: date) -> datetime:
        return datetime.combine(day, time(begins_hour), local).astimezone(UTC)

    newest = now.astimezone(local).date()
    if now < begin(newest):
        newest -= timedelta(days=1)
    dates = [newest - timedelta(days=back) for back in range(count - 1, -1, -1)]
    return Days(tuple(dates), tuple(map(begin, [*dates, newest + timedelta(days=1)])))


@dataclass(frozen=True, slots=True)
class Expectations:
    """When runs are expected, and when not, by today's rules and by what ran before."""

    rules: RuleSet
    maintenance: Maintenance

    def follow(self, subject: Subject, distance_seconds: float | None) -> Follow | None:
        """When the next run of a series is expected; None: it has no rhythm.

        `distance_seconds`: how far apart its runs usually are; None: that was not learnt.
        """
        applied = self.rules.rhythm(subject)
        if applied is None:
            return learn_from_times if distance_seconds is not None else None
        if isinstance(applied.value, Schedule):
            return _by_schedule(applied.value)
        return _by_distance(applied.value)

    def planned_silence(self, subject: Subject) -> Callable[[datetime], bool]:
        """Whether an instant is in maintenance of a series."""
        second = timedelta(seconds=1)
        return lambda at: self.maintenance.seconds_covered(subject, at, at + second) > 0


def _by_schedule(schedule: Schedule) -> Follow:
    def follow(good: Sequence[float]) -> Rhythm:
        last = datetime.fromtimestamp(good[-1], UTC)
        return follow_schedule(schedule.expression, schedule.timezone, last)

    return follow


def _by_distance(seconds: float) -> Follow:
    return lambda good: Rhythm.after(datetime.fromtimestamp(good[-1], UTC), seconds)


def missing_days(
    days: Days,
    occupied: Collection[int],
    good: Sequence[float],
    starts: Sequence[float],
    follow: Follow,
    now: datetime,
    is_planned_silence: Callable[[datetime], bool] = lambda at: False,
) -> list[int]:
    """The days, ascending, on which a run is missing.

    `occupied`: days on which a run began. `good` and `starts`: when the good runs began, and all
    runs, in seconds since 1970, ascending.
    """
    empty = [n for n in range(len(days.dates)) if n not in occupied]
    missing: set[int] = set()
    for place, (start, following) in enumerate(pairwise([*good, now.timestamp()])):
        if not _has_any(days, empty, start, following):
            continue
        is_last = place == len(good) - 1
        for at in _unmet(
            good[: place + 1], None if is_last else following, starts, follow, days, now
        ):
            day = days.index(at)
            if day is not None and day not in occupied and not is_planned_silence(at):
                missing.add(day)
    return sorted(missing)


def _has_any(days: Days, empty: Sequence[int], from_time: float, to_time: float) -> bool:
    """Whether one of the empty days has a part between two times."""
    from_at, to_at = (datetime.fromtimestamp(each, UTC) for each in (from_time, to_time))
    first = max(bisect_right(days.bounds, from_at) - 1, 0)
    place = bisect_left(empty, first)
    return place < len(empty) and days.bounds[empty[place]] < to_at


def _unmet(
    good: Sequence[float],
    following: float | None,
    starts: Sequence[float],
    follow: Follow,
    days: Days,
    now: datetime,
) -> list[datetime]:
    """When runs were expected after the last of the good ones, and none began until overdue.

    `following`: the start of the next good run, which ends the wait; None: there is none yet. What
    would have been expected after a missing run is as if it had taken place.
    """
    known = list(good)
    found: list[datetime] = []
    while (rhythm := follow(known)) is not None:
        at, until = rhythm.next_at.timestamp(), rhythm.overdue_at.timestamp()
        if until > now.timestamp() or (following is not None and following <= until):
            break
        last = starts[max(bisect_left(starts, at) - 1, 0)]
        if at - last > RETIRED_AFTER.total_seconds():
            break
        # A failed run was there. One shortly before its time is the run of that time.
        if not _began_between(starts, at - rhythm.distance_seconds / 2, until):
            found.append(rhythm.next_at)
        known.append(_skip(rhythm, at, days))
    return found


def _began_between(starts: Sequence[float], after: float, until: float) -> bool:
    place = bisect_right(starts, after)
    return place < len(starts) and starts[place] <= until


def _skip(rhythm: Rhythm, at: float, days: Days) -> float:
    """The expected time from which to go on: of frequent ones the last of the day."""
    day = days.index(rhythm.next_at)
    if day is None or rhythm.distance_seconds >= _OFTEN_SECONDS:
        return at
    rest = days.bounds[day + 1].timestamp() - at
    return at + max(rest // rhythm.distance_seconds, 0.0) * rhythm.distance_seconds
