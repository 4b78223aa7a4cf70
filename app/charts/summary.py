"""Makes the summary of an ended job from its chart."""

from __future__ import annotations

from typing import Any

from app.charts.job import read_whole_run
from app.database.pool import Connection
from app.domain.chart import job_span
from app.domain.runs import name_of_key
from app.domain.summary import MOST_POINTS, WholeRun, make_summary


def summarise_job(conn: Connection, key: str) -> tuple[str, dict[str, Any]]:
    """The version of a run's row, and its summary, in the caller's snapshot. Raises NotFound."""
    history = read_whole_run(conn, name_of_key(key), MOST_POINTS)
    job = history.job
    run = WholeRun(
        started_at=job.started_at,
        has_completed=job.status == "completed",
        total_bytes=job.total_bytes,
        duration_seconds=history.duration_seconds,
        effective_speed_bps=history.effective_speed_bps,
        span=job_span(job.started_at, job.newest_update_at),
        step_seconds=history.resolution_seconds,
        buckets=history.buckets,
        statistics=history.statistics,
        stretches=history.stretches,
        speed_source=history.speed_source,
    )
    return job.version, make_summary(run)
