"""On which days of a series a run is missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.domain.attention.nights import Days, Follow, last_days, missing_days
from app.domain.attention.rhythm import Rhythm, follow_schedule, learn_from_times

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 6, 30, 9, tzinfo=UTC)  # a Tuesday
DAY = timedelta(days=1)


def night(day: int, hour: float = 1) -> datetime:
    """An hour of a day of June 2026; days before it by numbers below 1."""
    return datetime(2026, 6, 1, tzinfo=UTC) + (day - 1) * DAY + timedelta(hours=hour)


def missing(
    good: Sequence[datetime],
    others: Sequence[datetime] = (),
    follow: Follow = learn_from_times,
    now: datetime = NOW,
    days: Days | None = None,
    silence: tuple[int, ...] = (),
) -> list[int]:
    """The days of June 2026 on which a run is missing. `silence`: days of maintenance."""
    days = days or last_days(30, now, "UTC")
    starts = sorted([*good, *others])
    occupied = {n for each in starts if (n := days.index(each)) is not None}
    found = missing_days(
        days,
        occupied,
        [each.timestamp() for each in good],
        [each.timestamp() for each in starts],
        follow,
        now,
        lambda at: at.day in silence,
    )
    return [days.dates[n].day for n in found]


def nights(*left_out: int, first: int = -40, last: int = 30) -> list[datetime]:
    return [night(day) for day in range(first, last + 1) if day not in left_out]


def test_nothing_is_missing_in_a_regular_series() -> None:
    assert missing(nights()) == []


def test_each_night_without_a_run_is_missing() -> None:
    assert missing(nights(12, 20, 21, 22)) == [12, 20, 21, 22]


def test_the_newest_day_is_missing_once_it_is_overdue() -> None:
    good = nights(last=29)  # the next is expected at 1 o'clock, and overdue 14.4 h after that
    assert missing(good) == []
    assert missing(good, now=night(30, 15)) == []
    assert missing(good, now=night(30, 16)) == [30]


def test_a_failed_run_is_not_a_missing_one() -> None:
    assert missing(nights(12, 13), others=[night(12)]) == [13]


def test_a_run_after_midnight_is_the_run_of_the_evening_before() -> None:
    good = [night(day, 23.5) for day in range(-40, 30) if day != 12]
    assert missing(good, others=[night(13, 0.5)]) == []
    assert missing([*good[:51], night(13, 0.5), *good[51:]]) == []


@pytest.mark.parametrize("count", [0, 3])
def test_a_series_without_a_rhythm_expects_nothing(count: int) -> None:
    assert missing([night(day) for day in range(20, 20 + count)]) == []


def test_what_rests_at_weekends_is_not_missing_there() -> None:
    good = [each for each in nights(11) if each.weekday() < 5]  # the 11th is a Thursday
    assert missing(good) == [11]


def test_a_weekly_run_is_missing_on_its_own_day_only() -> None:
    good = [night(day) for day in range(-130, 31, 7) if day != 17]
    assert missing(good) == [17]


def test_a_frequent_series_misses_whole_days_only() -> None:
    every_hour = [night(day, hour) for day in range(-14, 31) for hour in range(24)]
    good = [each for each in every_hour if not night(10, 13) < each < night(13, 5) and each < NOW]
    assert missing(good) == [11, 12]


def test_the_past_is_not_judged_by_what_came_later() -> None:
    """A job that became nightly was not missing on the days between its weekly runs."""
    weekly = [night(day) for day in range(-60, 11, 7)]
    nightly = [night(day) for day in range(11, 31)]
    assert missing([*weekly, *nightly]) == []


def test_a_series_that_was_given_up_is_missing_for_sixty_days() -> None:
    good = nights(first=-100, last=-60)  # the last one on 1 April
    found = missing(good, days=last_days(90, NOW, "UTC"))
    assert found == [*range(2, 31), *range(1, 32)]


def test_maintenance_is_not_missing() -> None:
    assert missing(nights(12, 13), silence=(12,)) == [13]


def test_a_schedule_says_what_is_expected() -> None:
    def at_midnight(good: Sequence[float]) -> Rhythm:
        return follow_schedule("0 0 * * mon", "UTC", datetime.fromtimestamp(good[-1], UTC))

    assert missing([night(1, 0)], follow=at_midnight) == [8, 15, 22]


def test_a_schedule_of_every_minute_is_quick() -> None:
    calls = 0

    def every_minute(good: Sequence[float]) -> Rhythm:
        nonlocal calls
        calls += 1
        return follow_schedule("* * * * *", "UTC", datetime.fromtimestamp(good[-1], UTC))

    assert missing([night(2)], follow=every_minute) == list(range(3, 31))
    assert calls < 100


def test_days_of_a_zone_have_23_and_25_hours() -> None:
    spring = last_days(3, datetime(2026, 3, 30, 12, tzinfo=UTC), BERLIN)
    assert spring.dates == (date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30))
    lengths = [(b - a) / timedelta(hours=1) for a, b in pairwise(spring.bounds)]
    assert lengths == [24, 23, 24]
    autumn = last_days(1, datetime(2026, 10, 25, 20, tzinfo=UTC), BERLIN)
    assert autumn.bounds[1] - autumn.bounds[0] == timedelta(hours=25)
    assert autumn.bounds[0] == datetime(2026, 10, 25, tzinfo=ZoneInfo(BERLIN))


def test_a_day_may_begin_at_noon() -> None:
    days = last_days(2, datetime(2026, 6, 30, 9, tzinfo=UTC), BERLIN, 12)
    assert days.dates == (date(2026, 6, 28), date(2026, 6, 29))  # it is 11 o'clock in Berlin
    assert days.bounds[-1] == datetime(2026, 6, 30, 10, tzinfo=UTC)
    assert days.index(night(30, 1)) == 1
    assert days.index(night(30, 10)) is None
    assert days.index(night(1)) is None
