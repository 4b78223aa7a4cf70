"""The arithmetic of a soak: windows, medians, slopes, and whether the promises held. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLOWER = 1.5  # the last window's p99 against the first's, at the most
LARGER = 1.10  # resident memory at the end against after the first window, at the most
LONGEST_WINDOW_SECONDS = 300.0
LONGEST_WARMUP_SECONDS = 60.0

Point = tuple[float, float]  # seconds since the beginning, and a value


@dataclass(frozen=True)
class Plan:
    """How a run is divided: a warm-up that does not count, then windows of one length."""

    warmup_seconds: float
    window_seconds: float
    windows: int

    @classmethod
    def of(cls, minutes: float) -> Plan:
        """For so many minutes after the warm-up: three windows at the least."""
        windows = max(3, math.floor(minutes * 60 / LONGEST_WINDOW_SECONDS))
        warmup_seconds = min(LONGEST_WARMUP_SECONDS, minutes * 60 / 4)
        return cls(warmup_seconds, minutes * 60 / windows, windows)

    @property
    def seconds(self) -> float:
        return self.warmup_seconds + self.windows * self.window_seconds

    def window_of(self, at: float) -> int | None:
        """The number of the window that an instant is in; None for the warm-up."""
        if at < self.warmup_seconds:
            return None
        return min(int((at - self.warmup_seconds) / self.window_seconds), self.windows - 1)

    @property
    def baseline(self) -> tuple[float, float]:
        """From when until when memory is what it is to be compared with: the first window's end."""
        until = self.warmup_seconds + self.window_seconds
        return until - self._edge_seconds, until

    @property
    def ending(self) -> tuple[float, float]:
        """The same at the end of the run."""
        return self.seconds - self._edge_seconds, self.seconds

    @property
    def last_third(self) -> tuple[float, float]:
        return self.seconds - self.windows * self.window_seconds / 3, self.seconds

    @property
    def rare_seconds(self) -> float:
        """How often to look at what costs more: so that each end of a window has a value."""
        return min(30.0, self.window_seconds / 4)

    @property
    def _edge_seconds(self) -> float:
        return min(60.0, self.window_seconds / 2)


@dataclass(frozen=True)
class Verdict:
    """A promise, what was measured, and whether it held."""

    name: str
    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok   ' if self.holds else 'FAILS'}  {self.name}: {self.text}"


def quantile(values: Sequence[float], share: float) -> float:
    """NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


def median_within(points: Sequence[Point], span: tuple[float, float]) -> float:
    """Of the values in a span of time; NaN where there is none."""
    values = [value for at, value in points if span[0] <= at <= span[1]]
    return statistics.median(values) if values else math.nan


def slope_per_minute(points: Sequence[Point], span: tuple[float, float]) -> float:
    """By how much the values grow a minute, by least squares; NaN of fewer than two."""
    inside = [point for point in points if span[0] <= point[0] <= span[1]]
    if len({at for at, _ in inside}) < 2:
        return math.nan
    return 60 * statistics.linear_regression(*zip(*inside, strict=True)).slope


def judge_latency(p99_by_window: Sequence[float]) -> Verdict:
    """Whether it is as fast at the end as in the beginning. Seconds."""
    first, last = p99_by_window[0], p99_by_window[-1]
    return Verdict(
        "as fast at the end",
        last <= SLOWER * first,  # False of a window without answers, which is NaN
        f"p99 {first * 1000:.1f} ms in the first window, {last * 1000:.1f} ms in the last"
        f" ({last / first:.2f} times, at most {SLOWER})",
    )


def judge_memory(name: str, points: Sequence[Point], plan: Plan) -> Verdict:
    """Whether a process holds no more at the end than after the first window. MiB."""
    before, after = (median_within(points, span) for span in (plan.baseline, plan.ending))
    return Verdict(
        f"memory of {name} is flat",
        after <= LARGER * before,
        f"{before:.1f} MiB after the first window, {after:.1f} MiB at the end"
        f" ({after / before:.3f} times, at most {LARGER}); "
        f"{slope_per_minute(points, plan.last_third):+.2f} MiB a minute in the last third",
    )


def judge_stored(ledger: dict[str, tuple[int, int]], stored: dict[str, tuple[int, int]]) -> Verdict:
    """Whether all that was acknowledged is there, once.

    `ledger`: sent and acknowledged by sender; `stored`: rows, and rows of different instants.
    """
    lost = twice = unasked = 0
    for sender, (sent, acknowledged) in ledger.items():
        rows, instants = stored.get(sender, (0, 0))
        lost += max(0, acknowledged - instants)
        twice += rows - instants
        unasked += max(0, instants - sent)
    total = sum(acknowledged for _, acknowledged in ledger.values())
    return Verdict(
        "what was acknowledged is stored",
        total > 0 and lost == twice == unasked == 0,
        f"{total:,} acknowledged, {sum(rows for rows, _ in stored.values()):,} stored,"
        f" {lost} lost, {twice} twice, {unasked} never sent",
    )
