"""Calculates charts: window, step, points and statistics. Speeds are bytes per second.

Steps are counted from 1970 in UTC, so that a chart does not shift as its window moves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from app.domain.job_state import percent_of
from app.domain.window import EPOCH, Window

SpeedSource = Literal["reported", "derived"]

SECOND = timedelta(seconds=1)
DAY_SECONDS = 86_400
# Below this, the error of a float is far smaller than the two decimals that are shown.
LARGE = 10**12
# Steps that are easy to read on an axis. Each divides a day; larger steps are whole days.
NICE_STEPS_SECONDS = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200),
    DAY_SECONDS,
)


def job_span(started_at: datetime, newest_update_at: datetime | None) -> Window:
    """All updates of a job: from the earliest to the whole second after the newest."""
    if newest_update_at is None:
        return Window(started_at, started_at)
    return Window(started_at, newest_update_at.replace(microsecond=0) + SECOND)


def choose_window(span: Window, from_at: datetime | None, before_at: datetime | None) -> Window:
    """The requested window, by default the span; empty if its only bound is outside the span.

    Instants before 1970 become 1970: no data is older, and they have no step.
    """
    if from_at is None:
        from_at = span.from_at if before_at is None else min(span.from_at, before_at)
    if before_at is None:
        before_at = max(span.before_at, from_at)
    return Window(max(from_at, EPOCH), max(before_at, EPOCH))


def choose_step(start: float, end: float, points: int) -> int:
    """The smallest nice step, in seconds, that covers `start` … `end` in at most `points` buckets.

    `start` and `end` (exclusive) are seconds since 1970; buckets are whole steps since 1970.
    """
    # One bucket may be cut at either end, so fewer days a bucket than this are never enough.
    days = itertools.count(max(2, math.ceil((end - start) / DAY_SECONDS / points)))
    return next(
        step
        for step in itertools.chain(NICE_STEPS_SECONDS, (DAY_SECONDS * day for day in days))
        if -(-end // step) - start // step <= points
    )


def window_step(window: Window, points: int) -> int:
    """`choose_step` for a window."""
    start, end = ((at - EPOCH) / SECOND for at in (window.from_at, window.before_at))
    return choose_step(start, end, points)


class Bucket(NamedTuple):
    """The updates of one step that begins at `at`, or a single update.

    Sums and counts instead of means, so that buckets can be added up. The speeds include reported
    zeros; the `moving_` fields do not. `progress_bp` (basis points, hundredths of a percent) and
    `bytes` are the last ones reported. None: nothing was reported.
    """

    at: datetime
    updates: int
    speed_sum: float | None
    speed_count: int
    speed_min: int | None
    speed_max: int | None
    moving_count: int
    moving_min: int | None
    progress_bp: int | None
    bytes: int | None


def merge_buckets(buckets: Iterable[Bucket], step_seconds: int) -> list[Bucket]:
    """Add up ascending buckets to larger ones, in whole steps since 1970."""
    step = timedelta(seconds=step_seconds)
    return [
        _merged(EPOCH + number * step, list(group))
        for number, group in itertools.groupby(buckets, key=lambda b: (b.at - EPOCH) // step)
    ]


def _merged(at: datetime, buckets: Sequence[Bucket]) -> Bucket:
    def known(values: Iterable[Any]) -> list[Any]:
        return [value for value in values if value is not None]

    sums = known(bucket.speed_sum for bucket in buckets)
    return Bucket(
        at=at,
        updates=sum(bucket.updates for bucket in buckets),
        speed_sum=math.fsum(sums) if sums else None,
        speed_count=sum(bucket.speed_count for bucket in buckets),
        speed_min=min(known(bucket.speed_min for bucket in buckets), default=None),
        speed_max=max(known(bucket.speed_max for bucket in buckets), default=None),
        moving_count=sum(bucket.moving_count for bucket in buckets),
        moving_min=min(known(bucket.moving_min for bucket in buckets), default=None),
        progress_bp=next(iter(known(bucket.progress_bp for bucket in reversed(buckets))), None),
        bytes=next(iter(known(bucket.bytes for bucket in reversed(buckets))), None),
    )


class Point(NamedTuple):
    """One point of the chart, as named in the response.

    Seconds since the job started; mean, lowest and highest speed; percent; bytes.
    """

    t: float
    s: float | None
    s_min: int | None
    s_max: int | None
    p: float | None
    b: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The number of updates of a window, and their speeds above zero; None if there are none."""

    updates: int
    peak_speed_bps: int | None
    avg_speed_bps: float | None
    min_speed_bps: int | None


def to_points(
    buckets: Sequence[Bucket],
    started_at: datetime,
    total_bytes: int | None,
    *,
    has_completed: bool = False,
) -> list[Point]:
    """A point for each bucket. `total_bytes` gives a percent to those that report none.

    That percent is 100 only if the job `has_completed`.
    """
    points = []
    # Unpacked, with the usual cases inline: this loop takes most of a chart's time in Python.
    for at, _, speed_sum, speeds, lowest, highest, _, _, progress_bp, done in buckets:
        seconds = round((at - started_at).total_seconds(), 3)
        mean: float | None
        if speed_sum and lowest is not None and highest and lowest < highest < LARGE:
            mean = round(speed_sum / speeds, 2)
        else:
            mean = _mean(speed_sum, speeds, lowest, highest)
        percent: float | None
        if progress_bp is not None:
            percent = progress_bp / 100
        else:
            percent = _percent(done, total_bytes, has_completed)
        points.append(Point(seconds if seconds > 0 else 0.0, mean, lowest, highest, percent, done))
    return points


def whole_milliseconds(at: datetime) -> datetime:
    """The instant without its microseconds, as the instants of gaps and phases are."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def seconds_since(started_at: datetime, at: datetime) -> float:
    """Seconds from the start of a job to the start or end of a phase; never negative."""
    seconds = round((at - whole_milliseconds(started_at)).total_seconds(), 3)
    return seconds if seconds > 0 else 0.0


def summarise(buckets: Sequence[Bucket]) -> Statistics:
    """The statistics of consecutive buckets."""
    moving = [bucket for bucket in buckets if bucket.moving_count]
    peak = max((bucket.speed_max or 0 for bucket in moving), default=None)
    lowest = min((bucket.moving_min or 0 for bucket in moving), default=None)
    speed_sum = math.fsum([bucket.speed_sum or 0 for bucket in moving])
    speed_count = sum([bucket.moving_count for bucket in moving])
    return Statistics(
        updates=sum([bucket.updates for bucket in buckets]),
        peak_speed_bps=peak,
        avg_speed_bps=_mean(speed_sum, speed_count, lowest, peak),
        min_speed_bps=lowest,
    )


def effective_speed(moved_bytes: int, seconds: float | None) -> float | None:
    """Bytes per second over the whole run; None while no bytes or no time are known."""
    return round(moved_bytes / seconds, 2) if moved_bytes > 0 and seconds else None


def _mean(total: float | None, count: int, lowest: int | None, highest: int | None) -> float | None:
    """total / count, two decimals, or None. A summary may lack the lowest."""
    if not count or total is None or highest is None:
        return None
    if lowest == highest:
        return lowest
    mean = round(total / count, 2)
    # Near 2**63 a float is off by more than one: keep the mean within its range.
    if mean > highest:
        return highest
    return lowest if lowest is not None and mean < lowest else mean


def _percent(done: int | None, total_bytes: int | None, has_completed: bool) -> float | None:
    """The percent computed from the bytes, 0 to 100, two decimals."""
    if done is None or not total_bytes:  # a total of 0 is an unknown one
        return None
    if has_completed and done >= total_bytes:
        return 100.0
    percent = percent_of(done, total_bytes)
    return None if percent is None else round(percent, 2)
