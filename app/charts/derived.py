"""Reads what a chart of a job derives from its disks (app.domain.derived)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.database.pool import Connection
from app.domain.chart import Bucket
from app.domain.derived import ChartedDiskSeries, add_disks
from app.domain.window import Window
from app.store import history as store

MOST_DISKS = 128  # each is read by itself


@dataclass(frozen=True)
class DrawnChart:
    """The chart of a window from one source: steps of `step` seconds, 0 for single updates."""

    source: str
    step: int
    window: Window
    buckets: list[Bucket]


def with_disks(
    conn: Connection, job: store.ChartedJob, drawn: DrawnChart, span: Window
) -> list[Bucket]:
    """The buckets of a job whose sender reports disks only, with the sums over them."""
    before = Window(span.from_at, max(drawn.window.from_at, span.from_at))
    disks = store.read_disks_before(conn, store.Series(job.key), before)
    if not disks or len(disks) > MOST_DISKS:
        return drawn.buckets
    return add_disks(
        drawn.buckets,
        [
            ChartedDiskSeries(
                size, _read_disk(conn, store.Series(job.key, index), drawn), done, percent
            )
            for index, size, done, percent in disks
        ],
    )


def _read_disk(conn: Connection, series: store.Series, drawn: DrawnChart) -> list[Bucket]:
    """The same chart of one disk."""
    window = drawn.window
    if not drawn.step:
        return store.read_updates(conn, series, window, len(drawn.buckets))
    if drawn.source == "updates":
        return store.read_buckets(conn, series, window, drawn.step)
    source: Literal["minutes", "hours"] = "minutes" if drawn.source == "1m" else "hours"
    stale = store.read_stale(conn, series, window.widened(3600))
    return store.read_rollup(conn, series, source, window, drawn.step, stale, points_only=True)
