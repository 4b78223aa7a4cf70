"""The summary of an ended job: a few kilobytes of JSON that are kept for ever.

It is made from the job's chart and stored in `jobs.performance_metrics`. Its keys are a contract
with analysts. `n` is how many updates of a point reported a speed, if not `speeds_per_point`: with
it points can be added up without a mean of means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import mode
from typing import Any, TypeVar

from app.domain.chart import (
    NICE_STEPS_SECONDS,
    Bucket,
    Point,
    SpeedSource,
    Statistics,
    merge_buckets,
    seconds_since,
    to_points,
    whole_milliseconds,
    window_step,
)
from app.domain.stretches import LEAST_GAP_SECONDS, Gap, Phase, Stretches
from app.domain.window import Window

MOST_BYTES = 5_000  # kept for ever, so bounded for jobs of any length
MOST_POINTS = 80
# Tried in turn until the summary is small enough: first points without bytes and lowest speed, then
# fewer points, then fewer gaps and phases.
SIZES = (
    # points, gaps and phases, what a point leaves out
    (MOST_POINTS, 20, ()),
    (MOST_POINTS, 20, ("b",)),
    (MOST_POINTS, 20, ("b", "s_min")),
    (48, 20, ("b", "s_min")),
    (40, 20, ("b", "s_min")),
    (40, 10, ("b", "s_min")),
    (40, 5, ("b", "s_min")),
    (30, 3, ("b", "s_min")),
    (20, 1, ("b", "s_min")),
)

Json = dict[str, Any]
Stretch = TypeVar("Stretch", Gap, Phase)


@dataclass(frozen=True)
class Summary:
    """A stored summary."""

    stored: Json

    @property
    def resolution_seconds(self) -> int:
        """The step of its points; 0: each is one update."""
        return int(self.stored["resolution_seconds"])

    @property
    def statistics(self) -> Statistics:
        """The statistics of the whole job."""
        average = self.stored["avg_speed_bps"]
        return Statistics(
            updates=self.stored["snapshots"],
            peak_speed_bps=self.stored["peak_speed_bps"],
            # The database writes a very large float without its point.
            avg_speed_bps=None if average is None else float(average),
            min_speed_bps=self.stored["min_speed_bps"],
        )

    @property
    def speed_source(self) -> SpeedSource | None:
        """Where its speeds are from; None without any."""
        if self.stored["peak_speed_bps"] is None:
            return None
        return "derived" if self.stored.get("speed_source") == "derived" else "reported"

    def is_finer_than(self, source: str, step_seconds: int) -> bool:
        """Whether it is finer than the chart from `source`; only hours can be coarser."""
        return source == "1h" and self.resolution_seconds < step_seconds

    def buckets_of(
        self, started_at: datetime, span: Window, most_points: int
    ) -> tuple[int, list[Bucket]]:
        """The step and the buckets of the chart, at most `most_points`."""
        usual = self.stored["speeds_per_point"]
        buckets = [_bucket(started_at, point, usual) for point in self.stored["chart_data"]]
        return fit_buckets(self.resolution_seconds, buckets, span, most_points)

    def stretches(self, started_at: datetime) -> Stretches:
        """The gaps and phases it keeps, and how many were left out."""

        def at(seconds: float) -> datetime:
            return whole_milliseconds(started_at) + timedelta(seconds=seconds)

        return Stretches(
            gap_seconds=self.stored.get("gap_seconds", LEAST_GAP_SECONDS),
            gaps=[
                Gap(_instant(gap["from"]), _instant(gap["to"]), gap["reason"])
                for gap in self.stored["gaps"]
            ],
            phases=[
                Phase(phase["phase"], at(phase["from_t"]), at(phase["to_t"]), phase["bytes"])
                for phase in self.stored["phases"]
            ],
            gaps_omitted=self.stored["gaps_omitted"],
            phases_omitted=self.stored["phases_omitted"],
        )

    @property
    def has_all_stretches(self) -> bool:
        """Whether it keeps every gap and phase."""
        return not (self.stored["gaps_omitted"] or self.stored["phases_omitted"])

    def stretches_of(self, started_at: datetime, window: Window) -> Stretches:
        """The same with the gaps cut to a window."""
        whole = self.stretches(started_at)
        cut = [
            Gap(max(gap.from_at, window.from_at), min(gap.to_at, window.before_at), gap.reason)
            for gap in whole.gaps
            if gap.from_at < window.before_at and gap.to_at > window.from_at
        ]
        return replace(whole, gaps=cut)


def fit_buckets(
    step_seconds: int, buckets: list[Bucket], span: Window, most_points: int
) -> tuple[int, list[Bucket]]:
    """A chart's step and buckets, merged to a larger step if there are too many."""
    if len(buckets) <= most_points:
        return step_seconds, buckets
    coarser = _multiple(step_seconds, window_step(span, most_points))
    return coarser, merge_buckets(buckets, coarser)


@dataclass(frozen=True)
class WholeRun:
    """All of an ended job: `buckets` of `step_seconds` (0: each is one update) cover `span`."""

    started_at: datetime
    has_completed: bool
    total_bytes: int
    duration_seconds: float | None
    effective_speed_bps: float | None
    span: Window
    step_seconds: int
    buckets: list[Bucket]
    statistics: Statistics
    stretches: Stretches
    speed_source: SpeedSource | None


def make_summary(run: WholeRun) -> Json:
    """The summary of a job: at most MOST_BYTES of JSON, with as many points as fit."""
    summary: Json = {}
    for most_points, most_stretches, left_out in SIZES:
        summary = _summary(run, most_points, most_stretches, left_out)
        # Spaced and unescaped, as PostgreSQL prints it.
        if len(json.dumps(summary, ensure_ascii=False).encode()) <= MOST_BYTES:
            break
    return summary


def _summary(
    run: WholeRun, most_points: int, most_stretches: int, left_out: tuple[str, ...]
) -> Json:
    step, buckets = fit_buckets(run.step_seconds, run.buckets, run.span, most_points)
    points = to_points(buckets, run.started_at, run.total_bytes, has_completed=run.has_completed)
    usual = mode([bucket.speed_count for bucket in buckets] or [0])
    gaps = _longest(run.stretches.gaps, most_stretches)
    phases = _longest(run.stretches.phases, most_stretches)
    return {
        "peak_speed_bps": run.statistics.peak_speed_bps,
        "avg_speed_bps": run.statistics.avg_speed_bps,
        "min_speed_bps": run.statistics.min_speed_bps,
        **({"speed_source": "derived"} if run.speed_source == "derived" else {}),
        "effective_speed_bps": run.effective_speed_bps,
        "duration_seconds": run.duration_seconds,
        "snapshots": run.statistics.updates,
        "resolution_seconds": step,
        "speeds_per_point": usual,
        "chart_data": [
            _point(point, bucket.speed_count, usual, left_out)
            for bucket, point in zip(buckets, points, strict=True)
        ],
        "phases": [_phase(run.started_at, phase) for phase in phases],
        "phases_omitted": run.stretches.phases_omitted + len(run.stretches.phases) - len(phases),
        "gap_seconds": _short(run.stretches.gap_seconds),
        "gaps": [_gap(gap) for gap in gaps],
        "gaps_omitted": run.stretches.gaps_omitted + len(run.stretches.gaps) - len(gaps),
    }


def _longest(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """The longest, in order of time."""
    ranked = sorted(stretches, key=lambda each: each.from_at - each.to_at)[:most]
    return sorted(ranked, key=lambda each: each.from_at)


def _point(point: Point, speeds: int, usual: int, left_out: tuple[str, ...]) -> Json:
    stored = {**point._asdict(), "t": _short(point.t)}
    for name in left_out:
        del stored[name]
    return stored if speeds == usual else {**stored, "n": speeds}


def _phase(started_at: datetime, phase: Phase) -> Json:
    return {
        "phase": phase.phase,
        "from_t": _short(seconds_since(started_at, phase.from_at)),
        "to_t": _short(seconds_since(started_at, phase.to_at)),
        "bytes": phase.bytes,
    }


def _gap(gap: Gap) -> Json:
    return {
        "from": gap.from_at.isoformat(timespec="milliseconds"),
        "to": gap.to_at.isoformat(timespec="milliseconds"),
        "reason": gap.reason,
    }


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _short(seconds: float) -> float:
    """Whole seconds without `.0`, to save space."""
    return int(seconds) if seconds == int(seconds) else seconds


def _multiple(step: int, at_least: int) -> int:
    """The smallest nice multiple of `step` that is `at_least` seconds."""
    if not step:
        return at_least
    for nice in NICE_STEPS_SECONDS:
        if nice >= at_least and nice % step == 0:
            return nice
    return -(-at_least // step) * step


def _bucket(started_at: datetime, point: Json, usual: int) -> Bucket:
    count = point.get("n", usual)
    return Bucket(
        at=started_at + timedelta(seconds=point["t"]),
        updates=count,
        speed_sum=None if point["s"] is None else point["s"] * count,
        speed_count=count,
        speed_min=point.get("s_min"),
        speed_max=point["s_max"],
        moving_count=0,
        moving_min=None,
        progress_bp=None if point["p"] is None else round(point["p"] * 100),
        bytes=point.get("b"),
    )
