"""Marks silent jobs as stalled, and later as failed; each step is an event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.staleness import Watch, fail_text, silent_since, stall_text
from app.store import staleness as store
from app.store.staleness import ChangedJob, SilentJob, StatusChange
from jobs.pages import change_page, read_pages

logger = logging.getLogger("hub.tasks.stale")

ChangeJobs = Callable[[Connection, Sequence[int], StatusChange], list[ChangedJob]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of a run. `errors`: jobs whose row could not be changed; see the log.

    `watched_seconds`: how long web processes have been taking updates; None: there are none, and no
    status is changed.
    """

    stalled: int
    failed: int
    errors: int
    watched_seconds: float | None


def run_once(database: Database, config: Config, now: datetime | None = None) -> Sweep:
    """Mark the jobs stalled or failed that have been silent for too long."""
    is_by_clock = now is None
    with database.reading() as conn:
        now, watches = store.read_watches(conn, now)
        if ahead := store.reset_future_jobs(conn, now):
            logger.warning(
                "the clock was set back; the silence of %d jobs is counted from now", ahead
            )
    clock = now if is_by_clock else None
    stall = _status_change(now, clock, watches, config.stale_after_seconds, stall_text)
    fail = _status_change(now, clock, watches, config.fail_after_seconds, fail_text)
    # Failed first, so that a job that is stalled in this run is failed in a later one.
    failed, not_failed = _change_all(database, "stalled", store.fail_jobs, fail)
    stalled, not_stalled = _change_all(database, "running", store.stall_jobs, stall)
    watched = max((watch.seconds for watch in watches), default=None)
    return Sweep(stalled, failed, not_failed + not_stalled, watched)


def _status_change(
    now: datetime,
    clock: datetime | None,
    watches: list[Watch],
    threshold_seconds: int,
    text: Callable[[int], str],
) -> StatusChange | None:
    since = silent_since(watches, threshold_seconds)
    if since is None:
        return None
    return StatusChange(now, since, threshold_seconds, text(threshold_seconds), clock)


def _change_all(
    database: Database, status: str, change_jobs: ChangeJobs, status_change: StatusChange | None
) -> tuple[int, int]:
    """Change the silent jobs of a status; return how many were changed, and how many failed."""
    if status_change is None:
        return 0, 0
    changed = errors = 0

    def read(conn: Connection, after: SilentJob | None, limit: int) -> list[SilentJob]:
        since = status_change.silent_since
        return store.read_silent_jobs(conn, status, since, after=after, limit=limit)

    def change(conn: Connection, ids: Sequence[int]) -> list[ChangedJob]:
        return change_jobs(conn, ids, status_change)

    for page in read_pages(database, read):
        ids = [job.id for job in page]
        changed_jobs, failures = change_page(database, ids, change, "stale job with id")
        changed += len(changed_jobs)
        errors += failures
        for job in changed_jobs:
            logger.warning(
                "Stale job %s: %s",
                job.job_id,
                status_change.text,
                extra={"job_id": job.job_id, "silent_seconds": round(job.silent_seconds, 1)},
            )
    return changed, errors
