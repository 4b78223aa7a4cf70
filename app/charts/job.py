"""Reads a chart: chooses its source (updates, minutes, hours, the stored summary) and its step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from app.charts.derived import DrawnChart, with_disks
from app.database.pool import Connection
from app.domain import chart, derived
from app.domain.chart import Bucket, Point, SpeedSource, Statistics
from app.domain.estimates import duration_seconds
from app.domain.runs import split_key
from app.domain.statuses import LIVE_STATUSES
from app.domain.stretches import LEAST_GAP_SECONDS, Stretches
from app.domain.summary import Summary
from app.domain.window import Window
from app.errors import NotFound, no_such_run
from app.store import history as store
from app.store.stretches import read_stretches

MINUTE, HOUR = 60, 3600  # seconds
# Rows that the database aggregates in about 20 ms.
MOST_UPDATES = 20_000
MOST_MINUTES = 10_000


@dataclass(frozen=True)
class History:
    """A chart of a job or disk, with its bytes. `resolution_seconds` 0: each point is one update.

    `last_point_unfinished`: the last point's step is not over, and its mean may still change.
    `speed_source`: None if no speed is known.
    """

    job: store.ChartedJob
    disk: int | None
    moved_bytes: int
    total_bytes: int
    window: Window
    source: str
    resolution_seconds: int
    buckets: list[Bucket]
    statistics: Statistics
    stretches: Stretches
    last_point_unfinished: bool
    speed_source: SpeedSource | None

    @property
    def points(self) -> list[Point]:
        """A point for each bucket."""
        return chart.to_points(
            self.buckets,
            self.job.started_at,
            self.total_bytes,
            has_completed=self.job.status == "completed",
        )

    @property
    def duration_seconds(self) -> float | None:
        """The duration of the whole job, independent of the window."""
        job = self.job
        return duration_seconds(job.started_at, job.completed_at, job.newest_update_at)

    @property
    def effective_speed_bps(self) -> float | None:
        """All bytes divided by the whole duration."""
        return chart.effective_speed(self.moved_bytes, self.duration_seconds)


def read_history(
    conn: Connection,
    name: str,
    *,
    points: int,
    from_at: datetime | None = None,
    before_at: datetime | None = None,
    disk: int | None = None,
) -> History:
    """The chart of a run, or of one of its disks, in at most `points` points, as of one moment.

    `name`: see `run_name`. `conn` is not in a transaction. Raises NotFound for an unknown run or
    disk.
    """
    job = _find_job(conn, name)
    if job.is_settled:
        # The job no longer changes, so a transaction with its two round trips is not needed. A
        # late update between the statements deletes the summary, as the next reader sees.
        return read_chart(conn, job, points, from_at, before_at, disk)
    # With a commit between the statements, header and points would not match.
    with conn.transaction():
        store.use_one_snapshot(conn)
        job = _find_job(conn, name)
        return read_chart(conn, job, points, from_at, before_at, disk)


def read_whole_run(conn: Connection, name: str, points: int) -> History:
    """The chart of a run from its series, without its summary. Raises NotFound."""
    job = replace(_find_job(conn, name), summary=None)
    return read_chart(conn, job, points)


def _find_job(conn: Connection, name: str) -> store.ChartedJob:
    job = store.read_charted_job(conn, name)
    if job is None:
        raise no_such_run(name)
    return job


def read_chart(
    conn: Connection,
    job: store.ChartedJob,
    points: int,
    from_at: datetime | None = None,
    before_at: datetime | None = None,
    disk: int | None = None,
) -> History:
    """The chart of a job read on the same connection. Raises NotFound for an unknown disk."""
    span = chart.job_span(job.started_at, job.newest_update_at)
    series = store.Series(job.key, disk)
    sizes = _sizes(conn, job, series, span)
    summary = Summary(job.summary) if job.summary else None
    window = chart.choose_window(span, from_at, before_at)
    # The step depends on the part of the window that has data: a job of an hour looks the same in a
    # window of a year.
    shown = window.within(span)
    known = summary.statistics if summary and disk is None and shown == span else None
    stale = _read_stale(conn, job, store.Series(job.key), span)
    stale_of_series = stale if disk is None else _read_stale(conn, job, series, span)
    drawn = _draw(conn, job, series, shown, points, known, stale_of_series)
    if summary and disk is None and summary.is_finer_than(drawn.source, drawn.step):
        return _from_summary(job, summary, span, points)
    if disk is None and not derived.has_bytes(drawn.buckets):
        drawn = replace(drawn, buckets=with_disks(conn, job, drawn, span))
    speed_source, buckets = _speeds(drawn, job.newest_update_at)
    if known is None:
        known = chart.summarise(buckets)
    elif known.peak_speed_bps is None:  # a summary of a release that derived none
        known = replace(chart.summarise(buckets), updates=known.updates)
    silent_until = _silent_until(conn, job)
    until_now = window
    if silent_until is not None and before_at is None:
        until_now = replace(window, before_at=max(window.before_at, silent_until))
    if drawn.step:
        window, until_now = window.widened(drawn.step), until_now.widened(drawn.step)
    stretches = _stretches(conn, job, summary, span, until_now, stale, silent_until)
    if any(gap.to_at > window.before_at for gap in stretches.gaps):
        window = until_now
    return History(
        job=job,
        disk=disk,
        moved_bytes=sizes.bytes_transferred,
        total_bytes=sizes.total_bytes,
        window=window,
        source=drawn.source,
        resolution_seconds=drawn.step,
        buckets=buckets,
        statistics=known,
        stretches=stretches,
        last_point_unfinished=_is_unfinished(job, drawn),
        speed_source=speed_source,
    )


def _speeds(
    drawn: DrawnChart, newest_update_at: datetime | None
) -> tuple[SpeedSource | None, list[Bucket]]:
    """Where the speeds of a chart are from, and its buckets with them."""
    if derived.has_speed(drawn.buckets) or newest_update_at is None:
        return ("reported" if derived.has_speed(drawn.buckets) else None), drawn.buckets
    complete_until = newest_update_at - timedelta(seconds=drawn.step)
    with_speeds = derived.derive_speeds(drawn.buckets, complete_until)
    return ("derived" if derived.has_speed(with_speeds) else None), with_speeds


def _sizes(
    conn: Connection, job: store.ChartedJob, series: store.Series, span: Window
) -> store.ChartedJob | store.ChartedDisk:
    """The job, or the disk if the series is of a disk. Raises NotFound."""
    if series.disk is None:
        return job
    disk = store.read_charted_disk(conn, series, span)
    if disk is None:
        raise NotFound(f"disk: job {split_key(job.key)[0]!r} has no disk {series.disk}.")
    return disk


def _read_stale(
    conn: Connection, job: store.ChartedJob, series: store.Series, span: Window
) -> store.Stale:
    """What the rollups of a series lack, in the whole hours of the job's span."""
    return store.FRESH if job.is_rolled_up else store.read_stale(conn, series, span.widened(HOUR))


def _stretches(
    conn: Connection,
    job: store.ChartedJob,
    summary: Summary | None,
    span: Window,
    window: Window,
    stale: store.Stale,
    silent_until: datetime | None,
) -> Stretches:
    """The gaps of a window and the phases: from the summary if it has all, or more than is left."""
    if summary and (summary.has_all_stretches or span.from_at < job.job_minutes_from):
        return summary.stretches_of(job.started_at, window)
    return read_stretches(conn, job, span, window, stale, silent_until)


def _silent_until(conn: Connection, job: store.ChartedJob) -> datetime | None:
    """Now on its sender's clock if a live job may have fallen silent, else None."""
    is_silent = (job.silent_seconds or 0) > LEAST_GAP_SECONDS
    if job.status not in LIVE_STATUSES or job.newest_update_at is None or not is_silent:
        return None
    return store.read_senders_now(conn, job)


def _draw(
    conn: Connection,
    job: store.ChartedJob,
    series: store.Series,
    shown: Window,
    points: int,
    known: Statistics | None,
    stale: store.Stale,
) -> DrawnChart:
    """The finest chart of a window that is kept and cheap. `known`: its statistics, if known."""
    step = chart.window_step(shown, points)
    has_updates = shown.from_at >= series.updates_from(job)
    if has_updates and (step < MINUTE or (known and known.updates <= points)):
        count = store.count_updates(conn, series, shown, MOST_UPDATES + 1)
        if count <= points:
            return _every_update(conn, series, shown, points)
        if count <= MOST_UPDATES:
            window = shown.widened(step)
            return DrawnChart(
                "updates", step, window, store.read_buckets(conn, series, window, step)
            )
    drawn = _draw_rollup(conn, job, series, shown, step, stale, points_only=known is not None)
    if has_updates and not known and sum(b.updates for b in drawn.buckets) <= points:
        every = _every_update(conn, series, shown, points + 1)
        if len(every.buckets) <= points:  # a late update of a settled job may have come just now
            return every
    return drawn


def _draw_rollup(
    conn: Connection,
    job: store.ChartedJob,
    series: store.Series,
    shown: Window,
    step: int,
    stale: store.Stale,
    *,
    points_only: bool,
) -> DrawnChart:
    minutes = (shown.before_at - shown.from_at) / timedelta(minutes=1)
    has_minutes = shown.from_at >= series.minutes_from(job) and minutes <= MOST_MINUTES
    source: Literal["minutes", "hours"] = "minutes" if has_minutes else "hours"
    step = max(step, MINUTE if has_minutes else HOUR)
    window = shown.widened(step)
    buckets = store.read_rollup(conn, series, source, window, step, stale, points_only=points_only)
    return DrawnChart("1m" if has_minutes else "1h", step, window, buckets)


def _every_update(conn: Connection, series: store.Series, shown: Window, limit: int) -> DrawnChart:
    return DrawnChart("updates", 0, shown, store.read_updates(conn, series, shown, limit))


def _from_summary(job: store.ChartedJob, summary: Summary, span: Window, points: int) -> History:
    """The chart of the whole job from its summary."""
    step, buckets = summary.buckets_of(job.started_at, span, points)
    return History(
        job=job,
        disk=None,
        moved_bytes=job.bytes_transferred,
        total_bytes=job.total_bytes,
        window=span.widened(step) if step else span,
        source="summary",
        resolution_seconds=step,
        buckets=buckets,
        statistics=summary.statistics,
        stretches=summary.stretches(job.started_at),
        last_point_unfinished=False,
        speed_source=summary.speed_source,
    )


def _is_unfinished(job: store.ChartedJob, drawn: DrawnChart) -> bool:
    if not drawn.step or not drawn.buckets or job.status not in LIVE_STATUSES:
        return False
    assert job.newest_update_at is not None
    end = drawn.buckets[-1].at + timedelta(seconds=drawn.step)
    return job.newest_update_at < end
