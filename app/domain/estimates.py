"""How long a job ran, and how long it still needs.

The time left comes from how fast the job moves now, or from how its earlier runs went on from the
same progress: whichever would have been right for the earlier runs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

# Beyond this a rate is noise (one byte in a day of a 100 TiB job), and a count of seconds
# would outgrow what JSON readers keep exactly.
LONGEST_SECONDS = 10 * 365 * 86_400
# Without progress for so long a job does not move; such a time is not part of its rate.
PAUSE_SECONDS = 300
# The updates that a rate is computed from, by their distance from the newest: few, however many a
# job has, and denser the younger they are.
DISTANCES_SECONDS = (0, *(10 * 2**step for step in range(13)))
# A rate is that of the newest part of the run, as long as its pace is even.
LEAST_SHARE, LEAST_SECONDS = 0.05, 30.0
EVEN = 1.15
MOST_RUNS = 3  # earlier runs that are compared
LIKE = 2.5  # an earlier run that was so many times faster or slower is of no use
NARROWEST = 0.1  # the range around an estimate

Basis = Literal["rate", "history", "percent"]


class Sample(NamedTuple):
    """How much was done at a time: `at` in seconds, `done` in bytes or percent.

    `silence`: for how many seconds at least no update followed.
    """

    at: float
    done: float
    phase: str | None = None
    silence: float = 0.0


class Profile(NamedTuple):
    """An earlier run: when it had done which percent, ascending, and how long it took, seconds."""

    times: Sequence[float]
    percents: Sequence[float]
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Seconds that a job still needs, and a range that it is probably in.

    None with a `reason` where no estimate is possible. `basis`: the rate of its bytes or of its
    percent, or earlier runs.
    """

    seconds: int | None
    low: int | None = None
    high: int | None = None
    basis: Basis | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """What an update reported: bytes, percent and phase, None if it did not.

    `silence`: for how many seconds at least no update followed.
    """

    time: datetime
    bytes_transferred: int | None
    progress_percent: float | None
    phase: str | None
    silence: float


@dataclass(frozen=True, slots=True)
class Pace:
    """What an estimate is made from: some updates of the job, and earlier runs; newest first."""

    counts: Sequence[Count]
    earlier: Sequence[Profile]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is estimated of a live job: its time left, and its speed by its bytes (bytes/s)."""

    time_left: TimeLeft | None
    speed_bps: int | None


def current_speed(counts: Sequence[Count]) -> int | None:
    """Bytes per second between the newest update and the one before it, at least 10 s; None if it
    is not known, or the count went back.
    """
    known = [count for count in counts if count.bytes_transferred is not None]
    if len(known) < 2:
        return None
    newest, before = known[:2]
    seconds = (newest.time - before.time).total_seconds()
    moved = (newest.bytes_transferred or 0) - (before.bytes_transferred or 0)
    return round(moved / seconds) if moved >= 0 and seconds > 0 else None


def duration_seconds(
    started_at: datetime, completed_at: datetime | None, newest_update_at: datetime | None
) -> float | None:
    """Seconds from the start to the end, or to the newest update of a job that has not ended.

    To the millisecond, never negative; None before the first update.
    """
    end = completed_at or newest_update_at
    return None if end is None else max(0.0, round((end - started_at).total_seconds(), 3))


def job_time_left(
    *,
    status: str,
    bytes_transferred: int,
    total_bytes: int,
    started_at: datetime,
    newest_update_at: datetime | None,
    pace: Pace | None,
) -> TimeLeft | None:
    """The time left of a job, by its bytes if their total is known, else by its percent.

    None for a job that is not live.
    """
    if status == "stalled":
        return TimeLeft(None, reason="The job is stalled: no updates arrive.")
    if status != "running" or newest_update_at is None or pace is None:
        return None

    def samples(name: str) -> list[Sample]:
        return [
            Sample((count.time - started_at).total_seconds(), done, count.phase, count.silence)
            for count in pace.counts
            if (done := getattr(count, name)) is not None
        ]

    elapsed = max(0.0, (newest_update_at - started_at).total_seconds())
    percents = samples("progress_percent")
    if percents and not 0 <= bytes_transferred < total_bytes:
        return time_left(percents, 100.0, elapsed=elapsed, is_percent=True, earlier=pace.earlier)
    # Without bytes of the job itself, its disks report them: then only the mean is known.
    amounts = samples("bytes_transferred") or [
        Sample(elapsed, bytes_transferred),
        Sample(0.0, 0.0),
    ]
    return time_left(amounts, total_bytes, elapsed=elapsed, earlier=pace.earlier)


def time_left(
    samples: Sequence[Sample],
    total: float,
    *,
    elapsed: float,
    is_percent: bool = False,
    earlier: Sequence[Profile] = (),
) -> TimeLeft:
    """The time left of a running job, counted from its newest update.

    `samples` are newest first. `total` is in the unit of `done`, 0 if unknown; `elapsed`: seconds
    since the start. `earlier` are completed runs of the same kind, newest first.
    """
    if total <= 0:
        return TimeLeft(None, reason="Neither a total nor a percent is known.")
    if not samples:
        return TimeLeft(None, reason="No progress is known.")
    if 0 < samples[0].done < total:
        idle = idle_seconds(samples)
        if idle >= PAUSE_SECONDS:
            return TimeLeft(None, reason=f"Nothing has moved for {round(idle / 60)} minutes.")
        # As of the last progress: the time left of a job that is stuck must not grow.
        samples = [sample for sample in samples if samples[0].at - sample.at >= idle]
        elapsed = max(0.0, elapsed - idle)
    percent = min(100.0, 100.0 * samples[0].done / total)
    if any(newer.done < older.done for newer, older in pairwise(samples)):
        earlier = ()  # it was restarted: its progress is not comparable
    history = _by_history(percent, elapsed, earlier)
    rate = _by_rate(samples, total)
    if history and (rate is None or _is_history_better(percent, elapsed, earlier)):
        return _answer(history, "history")
    if rate:
        return _answer(rate, "percent" if is_percent else "rate")
    if samples[0].done >= total:
        return TimeLeft(None, reason="All is moved; the job has not reported its end.")
    if samples[0].done <= 0:
        return TimeLeft(None, reason="Nothing has moved yet.")
    return TimeLeft(None, reason="It has not moved for long enough.")


class _Range(NamedTuple):
    """An estimate and its bounds, seconds."""

    seconds: float
    low: float
    high: float


def _answer(estimate: _Range, basis: Basis) -> TimeLeft:
    if estimate.seconds > LONGEST_SECONDS:
        return TimeLeft(None, reason="It moves too slowly for an estimate.")
    low = min(estimate.low, estimate.seconds * (1 - NARROWEST))
    high = min(max(estimate.high, estimate.seconds * (1 + NARROWEST)), LONGEST_SECONDS)
    return TimeLeft(math.ceil(estimate.seconds), math.floor(low), math.ceil(high), basis)


# The rate.


def idle_seconds(samples: Sequence[Sample]) -> float:
    """For how long at least the newest value has not changed."""
    newest = samples[0]
    same = newest.at
    for sample in samples[1:]:
        if sample.done != newest.done or sample.phase not in (None, newest.phase):
            break  # a new phase is progress too
        same = sample.at
    return newest.at - same


class _Stretch(NamedTuple):
    seconds: float
    done: float


def _by_rate(samples: Sequence[Sample], total: float) -> _Range | None:
    """What remains at the pace of the newest part of the run that is even."""
    remaining = total - samples[0].done
    stretches = _stretches(samples)
    active = sum(stretch.seconds for stretch in stretches)
    if remaining <= 0 or not any(stretch.done for stretch in stretches):
        return None
    least = max(LEAST_SECONDS, LEAST_SHARE * active)
    seconds = done = 0.0
    slowest, fastest = math.inf, 0.0
    current: float | None = None
    for stretch in stretches:
        pace = stretch.done / stretch.seconds
        if seconds < least or not done:
            current = None
        else:
            current = current or done / seconds
            if not current / EVEN <= pace <= current * EVEN:
                break
        seconds += stretch.seconds
        done += stretch.done
        if done:
            slowest, fastest = min(slowest, done / seconds), max(fastest, done / seconds)
    return _Range(remaining * seconds / done, remaining / fastest, remaining / slowest)


def _stretches(samples: Sequence[Sample]) -> list[_Stretch]:
    """What was done between two samples each, newest first, without pauses.

    Only of the current phase, and since the count last went back, as it does after a restart.
    """
    stretches = []
    for newer, older in pairwise(samples):
        seconds, done = newer.at - older.at, newer.done - older.done
        if done < 0 or (None not in (older.phase, newer.phase) and older.phase != newer.phase):
            break
        if older.silence >= PAUSE_SECONDS:
            seconds -= older.silence
        if seconds <= 0 or (seconds >= PAUSE_SECONDS and done == 0):
            continue
        stretches.append(_Stretch(seconds, done))
    return stretches


# Earlier runs.


def _by_history(percent: float, elapsed: float, earlier: Sequence[Profile]) -> _Range | None:
    """What earlier runs still needed at this percent, at the pace of this one."""
    left = [
        (run.seconds - reached) * scale
        for run in earlier
        if (reached := time_at(run, percent)) is not None
        and 1 / LIKE <= (scale := _scale(elapsed, reached, run.seconds)) <= LIKE
    ]
    return _Range(median(left), min(left), max(left)) if left else None


def _scale(elapsed: float, reached: float, seconds: float) -> float:
    """How many times slower this run is; near 1 at the start, when little can be said."""
    return (elapsed + 0.1 * seconds) / (reached + 0.1 * seconds)


def time_at(run: Profile, percent: float) -> float | None:
    """When a run had reached a percent, seconds since its start; None if it reported none."""
    if not run.times:
        return None
    after = bisect_right(run.percents, percent)
    if after == len(run.times):
        return run.times[-1]
    before_time, before = (run.times[after - 1], run.percents[after - 1]) if after else (0.0, 0.0)
    share = (percent - before) / ((run.percents[after] - before) or 1.0)
    return before_time + share * (run.times[after] - before_time)


def _is_history_better(percent: float, elapsed: float, earlier: Sequence[Profile]) -> bool:
    """Whether earlier runs would have said more of one another, at this percent, than their rate.

    With a single one: whether this run resembles it.
    """
    errors_of_rate, errors_of_history = [], []
    for index, run in enumerate(earlier):
        reached = time_at(run, percent)
        if reached is None or run.seconds - reached <= 0:
            continue
        true = run.seconds - reached
        rate = _by_rate(_samples_of(run, reached, percent), 100.0)
        others = [*earlier[:index], *earlier[index + 1 :]]
        history = _by_history(percent, reached, others)
        if rate is not None:
            errors_of_rate.append(abs(rate.seconds - true) / true)
        if history is not None:
            errors_of_history.append(abs(history.seconds - true) / true)
        elif not others:
            errors_of_history.append(abs(math.log(_scale(elapsed, reached, run.seconds))))
    if not errors_of_history or not errors_of_rate:
        return bool(errors_of_history)
    return median(errors_of_history) < median(errors_of_rate)


def _samples_of(run: Profile, reached: float, percent: float) -> list[Sample]:
    """What a run would have been estimated from when it had reached a percent, newest first."""
    before = bisect_right(run.times, reached)
    past = zip(reversed(run.times[:before]), reversed(run.percents[:before]), strict=True)
    return [Sample(reached, percent), *(Sample(*each) for each in past)]
