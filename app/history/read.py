"""Reads a chart: chooses its source (updates, minutes, hours, the stored summary) and its step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.db import Connection
from app.domain import chart
from app.domain.chart import Bucket, Point, Statistics, Window
from app.domain.estimates import duration_seconds
from app.domain.statuses import LIVE_STATUSES
from app.domain.stretches import Stretches
from app.domain.summary import Summary, parse_summary
from app.errors import NotFound
from app.store import history as store
from app.store.stretches import read_stretches

MINUTE, HOUR = 60, 3600  # seconds
# What is cheap: rows that the database adds up in some 20 ms.
MOST_UPDATES = 20_000
MOST_MINUTES = 10_000


@dataclass(frozen=True)
class History:
    """A chart as read. `resolution_seconds` 0: each point is one update.

    `moved_bytes` and `total_bytes` are those of the job, or of the disk that is charted.
    `last_point_unfinished`: the last point's step is not over, its mean is of what has come so far.
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
        """Of the whole job, whatever the window."""
        job = self.job
        return duration_seconds(job.started_at, job.completed_at, job.newest_update_at)

    @property
    def effective_speed_bps(self) -> float | None:
        """All bytes by the whole duration."""
        return chart.effective_speed(self.moved_bytes, self.duration_seconds)


@dataclass(frozen=True)
class _Chart:
    """What one source gives for a window: steps of `step` seconds, 0 for single updates."""

    source: str
    step: int
    window: Window
    buckets: list[Bucket]


def read_chart(
    conn: Connection,
    job_id: str,
    *,
    points: int,
    from_at: datetime | None = None,
    before_at: datetime | None = None,
    disk: int | None = None,
    use_summary: bool = True,
) -> History:
    """The chart of a job, or of one of its disks, in at most `points` points.

    In the caller's transaction, which should be one snapshot. Without `use_summary` it is made of
    the series alone. Raises NotFound for an unknown job or disk.
    """
    job = store.read_charted_job(conn, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    span = chart.job_span(job.started_at, job.newest_update_at)
    series = store.Series(job_id, disk)
    sizes = _sizes(conn, job, series, span)
    summary = parse_summary(job.summary_json) if use_summary else None
    window = chart.choose_window(span, from_at, before_at)
    # The step follows from the part of the window that has data: a window of a year around a job
    # of an hour shows that hour as well as any.
    shown = window.within(span)
    drawn = _draw(conn, job, series, shown, points)
    if summary is not None and disk is None and summary.is_finer_than(drawn.source, drawn.step):
        return _from_summary(job, summary, span, points)
    window = window.widened(drawn.step) if drawn.step else window
    stretches = None if summary is None else summary.stretches_of(job.started_at, window)
    return History(
        job=job,
        disk=disk,
        moved_bytes=sizes.bytes_transferred,
        total_bytes=sizes.total_bytes,
        window=window,
        source=drawn.source,
        resolution_seconds=drawn.step,
        buckets=drawn.buckets,
        statistics=chart.summarise(drawn.buckets),
        stretches=stretches or read_stretches(conn, job, span, window),
        last_point_unfinished=_is_unfinished(job, drawn),
    )


def _sizes(
    conn: Connection, job: store.ChartedJob, series: store.Series, span: Window
) -> store.ChartedJob | store.ChartedDisk:
    """What is charted: the job, or its disk if the series is one."""
    if series.disk is None:
        return job
    disk = store.read_charted_disk(conn, series, span)
    if disk is None:
        raise NotFound(f"disk: job {job.job_id!r} has no disk {series.disk}.")
    return disk


def _draw(
    conn: Connection, job: store.ChartedJob, series: store.Series, shown: Window, points: int
) -> _Chart:
    """The finest chart of a window that is cheap and still kept."""
    step = chart.window_step(shown, points)
    has_updates = shown.from_at >= series.updates_from(job)
    if has_updates and step < MINUTE:
        count = store.count_updates(conn, series, shown, MOST_UPDATES + 1)
        if count <= points:
            return _every_update(conn, series, shown, points)
        if count <= MOST_UPDATES:
            window = shown.widened(step)
            return _Chart("updates", step, window, store.read_buckets(conn, series, window, step))
    drawn = _draw_rollup(conn, job, series, shown, step)
    if has_updates and sum(bucket.updates for bucket in drawn.buckets) <= points:
        every = _every_update(conn, series, shown, points + 1)
        if len(every.buckets) <= points:  # the newest may not be in the rollup yet
            return every
    return drawn


def _draw_rollup(
    conn: Connection, job: store.ChartedJob, series: store.Series, shown: Window, step: int
) -> _Chart:
    minutes = (shown.before_at - shown.from_at) / timedelta(minutes=1)
    has_minutes = shown.from_at >= series.minutes_from(job) and minutes <= MOST_MINUTES
    source, read, bucket = (
        ("1m", store.read_minutes, MINUTE)
        if has_minutes or not series.has_hours
        else ("1h", store.read_hours, HOUR)
    )
    step = max(step, bucket)
    window = shown.widened(step)
    return _Chart(source, step, window, read(conn, series, window, step))


def _every_update(conn: Connection, series: store.Series, shown: Window, limit: int) -> _Chart:
    return _Chart("updates", 0, shown, store.read_updates(conn, series, shown, limit))


def _from_summary(job: store.ChartedJob, summary: Summary, span: Window, points: int) -> History:
    """The chart of the whole job, from what is kept for ever."""
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
    )


def _is_unfinished(job: store.ChartedJob, drawn: _Chart) -> bool:
    if not drawn.step or not drawn.buckets or job.status not in LIVE_STATUSES:
        return False
    assert job.newest_update_at is not None
    end = drawn.buckets[-1].at + timedelta(seconds=drawn.step)
    return job.newest_update_at < end
