"""What is usual for a series: size, duration and speed of its good runs, and their progress.

Spreads are those of logarithms, because sizes and durations vary by factors: a run of a hundredth
of the usual size is as unusual as one of a hundred times the size. A value is unusual if it differs
from the median by more than four times the median absolute deviation (scaled to the standard
deviation of a normal distribution) and by a factor of at least two. Of few runs this deviation is
often small by chance: a value that is within a factor of two of what twice the upper quartile of
the deviations allows is usual as well (docs/attention.md has what that prevents).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

MOST_RUNS = 20
FEWEST_RUNS = 5
FACTOR = 2.0
DEVIATIONS = 4.0
_TO_SIGMA = 1.4826  # from the median absolute deviation of a normal distribution
# Few runs underestimate the spread: with n of them it is taken to be 1 + 4/n times as wide.
_SMALL_SAMPLE = 4.0
# The same for the upper quartile of the deviations, which is 1.15 standard deviations.
_QUARTILES = 2.0
_SMALL_SAMPLE_QUARTILE = 2.0
PACE_STEPS = 20
MOST_BYTES = 2**63 - 1  # of PostgreSQL's bigint; the nearest float is above it
SLOW_SHARE = 0.5  # of the least that is usual, of a slow run
SLOW_SECONDS = 300.0  # a run may be behind by so much


@dataclass(frozen=True, slots=True)
class Band:
    """The usual range of a value. Outside of it, it is unusual."""

    median: float
    low: float
    high: float

    def ratio(self, value: float) -> float | None:
        """How many times larger (above 1) or smaller (below 1) than usual; None: usual."""
        if self.low <= value <= self.high or self.median <= 0:
            return None
        return value / self.median


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual for a series; None where fewer than FEWEST_RUNS good runs say."""

    runs: int
    bytes: Band | None = None
    seconds: Band | None = None
    bps: Band | None = None
    has_empty_runs: bool = False


@dataclass(frozen=True, slots=True)
class GoodRun:
    """A run that is counted. `bytes`: None if unknown. `progress`: (seconds, bytes), ascending."""

    seconds: float
    bytes: int | None
    progress: Sequence[tuple[float, float]] = ()

    def bytes_at(self, seconds: float) -> float:
        """What it had moved after so many seconds; 0 if its progress is not known."""
        after = bisect_right(self.progress, seconds, key=lambda point: point[0])
        if after == len(self.progress):
            return self.progress[-1][1] if self.progress else 0.0
        end, end_bytes = self.progress[after]
        start, start_bytes = self.progress[after - 1] if after else (0.0, 0.0)
        share = (seconds - start) / ((end - start) or 1.0)
        return start_bytes + share * (end_bytes - start_bytes)


def usual_of(runs: Sequence[GoodRun], factor: float = FACTOR) -> Usual:
    """What is usual, from the newest good runs, newest first."""
    newest = runs[:MOST_RUNS]
    sizes = [run.bytes for run in newest if run.bytes is not None]
    speeds = [run.bytes / run.seconds for run in newest if run.bytes and run.seconds > 0]
    return Usual(
        runs=len(newest),
        bytes=band([float(size) for size in sizes], factor),
        seconds=band([run.seconds for run in newest], factor),
        bps=band(speeds, factor),
        has_empty_runs=0 in sizes,
    )


def band(values: Sequence[float], factor: float = FACTOR) -> Band | None:
    """The usual range of values; None if fewer than FEWEST_RUNS are above zero."""
    logs = [math.log(value) for value in values if value > 0]
    if len(logs) < FEWEST_RUNS:
        return None
    middle = median(logs)
    width = _width([abs(each - middle) for each in logs], factor)
    low = 0.0 if 0 in values else math.exp(middle - width)
    return Band(math.exp(middle), low, math.exp(min(middle + width, 700.0)))


def _width(deviations: Sequence[float], factor: float) -> float:
    """How far from the median a logarithm is usual."""
    count = len(deviations)
    scaled = median(deviations) * _TO_SIGMA * (1 + _SMALL_SAMPLE / count)
    upper = sorted(deviations)[round(0.75 * (count - 1))] * (1 + _SMALL_SAMPLE_QUARTILE / count)
    return max(DEVIATIONS * scaled, math.log(factor) + _QUARTILES * upper)


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a run usually is: at least `low[n]` bytes after n + 1 steps of `step_seconds`."""

    step_seconds: float
    low: list[int]

    def least_bytes(self, seconds: float) -> int:
        """What is the least after so many seconds; 0 before the first step.

        The same as in the query read_slow. The last step counts for all that is later.
        """
        step = min(len(self.low), int(seconds / self.step_seconds))
        return self.low[step - 1] if step > 0 else 0

    def is_behind(self, seconds: float, moved: float, total: float | None = None) -> bool:
        """Whether a run that has moved so much of its total after so many seconds is slow.

        A small run has less to move: it is slow only before half of its total.
        """
        least = self.least_bytes(seconds - SLOW_SECONDS)
        return moved < SLOW_SHARE * (min(least, total) if total else least)


def pace_of(runs: Sequence[GoodRun]) -> Pace | None:
    """The least bytes at equal elapsed times, from the newest good runs.

    It is the lowest decile one step earlier, so that a snapshot may take longer than usual.
    """
    known = [run for run in runs[:MOST_RUNS] if run.progress and run.seconds > 0]
    if len(known) < FEWEST_RUNS:
        return None
    step = median(run.seconds for run in known) / PACE_STEPS
    low = []
    for number in range(PACE_STEPS):
        reached = sorted(run.bytes_at(number * step) for run in known)
        low.append(min(int(reached[len(reached) // 10]), MOST_BYTES))
    return Pace(step, low)


def to_json(usual: Usual) -> dict[str, Any]:
    """As it is stored in `series.usual`."""
    return {
        "runs": usual.runs,
        "has_empty_runs": usual.has_empty_runs,
        **{
            name: {"median": band.median, "low": band.low, "high": band.high}
            for name in ("bytes", "seconds", "bps")
            if (band := getattr(usual, name)) is not None
        },
    }


def from_json(stored: dict[str, Any] | None) -> Usual:
    """The reverse."""
    if not stored:
        return Usual(0)
    bands = {
        name: Band(*(float(stored[name][each]) for each in ("median", "low", "high")))
        for name in ("bytes", "seconds", "bps")
        if name in stored
    }
    return Usual(stored["runs"], has_empty_runs=stored["has_empty_runs"], **bands)
