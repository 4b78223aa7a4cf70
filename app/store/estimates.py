"""Estimates the time left and the speed of live jobs, with two statements for many jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from app.database.pool import Connection
from app.domain.estimates import (
    DISTANCES_SECONDS,
    MOST_RUNS,
    Count,
    Estimate,
    Pace,
    Profile,
    current_speed,
    job_time_left,
)
from app.domain.statuses import LIVE_STATUSES
from app.store.jobs import Job
from app.store.sql import load_queries

SQL = load_queries("estimates")

MOST_KEPT = 10_000  # estimates, a few hundred bytes each
RECENT_RUNS = 30  # of a machine, among which earlier runs of the same kind are looked for
_FARTHEST = timedelta(seconds=DISTANCES_SECONDS[-1])


def read_estimates(conn: Connection, jobs: Iterable[Job]) -> dict[int, Estimate]:
    """The estimates of each live job, by the job's number.

    Every update that arrives changes the row of its job, so an estimate is kept as long as the row
    is the same: a dashboard asks more often than jobs report.
    """
    live = {_row_of(job): job for job in jobs if job.status in LIVE_STATUSES}
    found = {row: _kept.get(row) for row in live}
    missing = [job for row, job in live.items() if found[row] is None]
    paces = _read_paces(conn, [job for job in missing if job.status == "running"])
    if len(_kept) > MOST_KEPT:
        _kept.clear()
    for job in missing:
        row, pace = _row_of(job), paces.get(job.id)
        left = job_time_left(
            status=job.status,
            bytes_transferred=job.bytes_transferred,
            total_bytes=job.total_bytes or 0,
            started_at=job.started_at,
            newest_update_at=job.newest_update_at,
            pace=pace,
        )
        speed = current_speed(pace.counts) if pace else None
        found[row] = _kept[row] = Estimate(left, speed)
    return {job.id: each for row, job in live.items() if (each := found[row]) is not None}


_kept: dict[tuple[Any, ...], Estimate] = {}


def _row_of(job: Job) -> tuple[Any, ...]:
    return (
        *(job.id, job.key, job.status, job.bytes_transferred, job.total_bytes, job.started_at),
        *(job.newest_update_at, job.last_telemetry_at),
    )


def _read_paces(conn: Connection, jobs: Sequence[Job]) -> dict[int, Pace]:
    """What the time left of each running job is computed from, by the job's number."""
    running = [job for job in jobs if job.newest_update_at is not None]
    if not running:
        return {}
    counts = _read_counts(conn, running)
    earlier = _read_earlier_runs(conn, [job.id for job in running])
    return {job.id: Pace(counts[job.id], earlier[job.id]) for job in running}


def _read_counts(conn: Connection, jobs: Sequence[Job]) -> dict[int, list[Count]]:
    """Some updates of each job, newest first: denser the younger they are."""
    by_day: dict[date, list[Job]] = defaultdict(list)
    for job in jobs:  # so that a sender whose clock is behind costs the others nothing
        by_day[_newest(job).date()].append(job)
    found: dict[int, list[Count]] = defaultdict(list)
    for group in by_day.values():
        newest = [_newest(job) for job in group]
        values = {
            "ids": [job.id for job in group],
            "job_ids": [job.key for job in group],
            "started": [job.started_at for job in group],
            "newest": newest,
            "distances": list(DISTANCES_SECONDS),
            "first": min(newest) - _FARTHEST,
            "last": max(newest),
        }
        for number, *count in conn.execute(SQL["read_samples"], values, prepare=False):
            found[number].append(Count(*count))
    return found


def _newest(job: Job) -> datetime:
    assert job.newest_update_at is not None  # of a running job
    return job.newest_update_at


def _read_earlier_runs(conn: Connection, ids: Sequence[int]) -> dict[int, list[Profile]]:
    """The last completed runs of the same kind as each job, newest first."""
    values = {"ids": list(ids), "recent": RECENT_RUNS, "runs": MOST_RUNS}
    found: dict[int, list[Profile]] = defaultdict(list)
    for number, seconds, times, percents in conn.execute(SQL["read_earlier_runs"], values):
        found[number].append(_profile(times, percents, seconds))
    return found


def _profile(times: Sequence[float], percents: Sequence[float | None], seconds: float) -> Profile:
    """The points with a percent. After a restart the highest so far counts."""
    kept: list[tuple[float, float]] = []
    for time, percent in zip(times, percents, strict=True):
        if percent is not None:
            kept.append((time, max(percent, kept[-1][1]) if kept else percent))
    return Profile([time for time, _ in kept], [percent for _, percent in kept], seconds)
