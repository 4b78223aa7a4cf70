"""When a series is expected, and since when it is overdue."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.domain.attention.rhythm import Rhythm, follow_schedule, learn_rhythm

MONDAY = datetime(2026, 6, 1, 22, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def starts(
    count: int,
    distance: timedelta,
    *,
    first: datetime = MONDAY,
    only: Callable[[datetime], bool] = lambda at: True,
    jitter_minutes: float = 5,
) -> list[datetime]:
    """So many starts, a few minutes late each; `only` at the times that it allows."""
    chance = random.Random(1)
    found: list[datetime] = []
    at = first
    while len(found) < count:
        if only(at):
            found.append(at + timedelta(minutes=chance.uniform(0, jitter_minutes)))
        at += distance
    return found


def is_weekday(at: datetime) -> bool:
    return at.weekday() < 5


def rhythm_of(times: list[datetime]) -> Rhythm:
    rhythm = learn_rhythm(times)
    assert rhythm is not None
    return rhythm


def near(at: datetime, expected: datetime) -> bool:
    return abs(at - expected) < timedelta(minutes=15)


@pytest.mark.parametrize("count", [4, 5, 8, 14, 30, 200])
@pytest.mark.parametrize("distance", [HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY])
def test_even_distances_are_a_rhythm(distance: timedelta, count: int) -> None:
    times = starts(count, distance)
    rhythm = rhythm_of(times)
    expected = times[-1] + distance
    if count * distance > 8 * DAY or distance > DAY:
        assert near(rhythm.next_at, expected)
        assert near(rhythm.overdue_at, times[-1] + 1.6 * distance)
    else:  # of the weekend nothing is known yet
        assert rhythm.next_at >= expected - timedelta(minutes=15)
        assert rhythm.next_at.weekday() < 5 or near(rhythm.next_at, expected)


@pytest.mark.parametrize("count", range(6, 30))
def test_weekdays_only(count: int) -> None:
    times = starts(count, DAY, only=is_weekday)
    expected = times[-1].replace(hour=22, minute=0) + DAY
    while not is_weekday(expected):
        expected += DAY
    rhythm = rhythm_of(times)
    assert near(rhythm.next_at, expected)
    assert rhythm.overdue_at - rhythm.next_at < DAY


@pytest.mark.parametrize("rest", range(7))
def test_a_day_of_rest_is_learnt_whichever_it_is(rest: int) -> None:
    for count in range(8, 30):
        times = starts(count, DAY, only=lambda at: at.weekday() != rest)
        expected = times[-1].replace(hour=22, minute=0) + DAY
        if expected.weekday() == rest:
            expected += DAY
        assert near(rhythm_of(times).next_at, expected), count


@pytest.mark.parametrize("count", range(130, 180, 7))
def test_hours_of_business(count: int) -> None:
    def is_open(at: datetime) -> bool:
        return is_weekday(at) and 8 <= at.hour < 18

    times = starts(count, HOUR, only=is_open, first=MONDAY.replace(hour=8))
    expected = times[-1].replace(minute=0) + HOUR
    while not is_open(expected):
        expected += HOUR
    assert near(rhythm_of(times).next_at, expected)


def test_three_days_a_week() -> None:
    times = starts(12, DAY, only=lambda at: at.weekday() in (0, 2, 4))
    assert times[-1].weekday() == 4
    assert near(rhythm_of(times).next_at, times[-1].replace(hour=22, minute=0) + 3 * DAY)


@pytest.mark.parametrize(
    "first_day", [datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 10, 5, tzinfo=UTC)]
)
def test_summer_time_makes_nothing_overdue(first_day: datetime) -> None:
    zone = ZoneInfo("Europe/Berlin")
    for hour in (1, 22, 23):
        local = [first_day.replace(hour=hour) + n * DAY for n in range(45)]
        times = [at.replace(tzinfo=zone).astimezone(UTC) for at in local]
        for weekdays_only in (False, True):
            pairs = zip(times, local, strict=True)
            ran = [time for time, at in pairs if not weekdays_only or is_weekday(at)]
            for n in range(8, len(ran)):
                assert rhythm_of(ran[:n]).overdue_at > ran[n]


def test_a_failed_or_extra_run_does_not_end_a_rhythm() -> None:
    times = starts(20, DAY)
    for without in (17, 11, 3):
        del times[without]
    times = sorted([*times, times[5] + timedelta(minutes=30), times[9] + 8 * HOUR])
    assert near(rhythm_of(times).next_at, times[-1] + DAY)


def test_runs_on_demand_have_no_rhythm() -> None:
    chance = random.Random(2)
    false = 0
    for _ in range(200):
        at, times = MONDAY, []
        for _ in range(12):
            at += chance.expovariate(1) * 2 * DAY
            times.append(at)
        false += learn_rhythm(times) is not None
    assert false <= 6


def test_three_runs_are_too_few() -> None:
    assert learn_rhythm(starts(3, DAY)) is None
    assert learn_rhythm([]) is None


def schedules() -> Iterator[tuple[str, datetime, datetime]]:
    """Expression, last start and next, in Berlin."""
    zone = ZoneInfo("Europe/Berlin")

    def at(*parts: int) -> datetime:
        return datetime(*parts, tzinfo=zone)  # type: ignore[misc,arg-type]

    yield "0 22 * * *", at(2026, 6, 1, 22, 1), at(2026, 6, 2, 22)
    yield "0 22 * * *", at(2026, 6, 1, 21, 58), at(2026, 6, 2, 22)  # a little early
    yield "0 22 * * 1-5", at(2026, 6, 5, 22, 3), at(2026, 6, 8, 22)
    yield "0 22 * * *", at(2026, 3, 28, 22, 1), at(2026, 3, 29, 22)  # 23 hours later
    yield "0 22 * * *", at(2026, 10, 24, 22, 1), at(2026, 10, 25, 22)  # 25 hours later
    yield "0 */6 * * *", at(2026, 6, 1, 6, 1), at(2026, 6, 1, 12)
    yield "0 3 1 * *", at(2026, 6, 1, 3, 1), at(2026, 7, 1, 3)
    yield "0 4 * * 0", at(2026, 6, 7, 4, 2), at(2026, 6, 14, 4)


@pytest.mark.parametrize(("expression", "last", "expected"), list(schedules()))
def test_a_schedule_says_when_the_next_is_due(
    expression: str, last: datetime, expected: datetime
) -> None:
    rhythm = follow_schedule(expression, "Europe/Berlin", last.astimezone(UTC))
    assert rhythm.next_at == expected
    assert rhythm.overdue_at > expected
