"""Notices jobs that went quiet: running, then stalled, then failed; every step is an event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.db import Connection, Database
from app.domain.staleness import Watch, fail_text, silent_since, stall_text
from app.errors import Unavailable
from app.store import staleness as store
from app.store.staleness import Judged, SilentJob, Verdict

logger = logging.getLogger("hub.tasks.stale")

# Short transactions: the embedded database serves nobody else meanwhile, and an update of a job
# waits for its row.
PAGE_JOBS = 1_000

Judge = Callable[[Connection, Sequence[int], Verdict], list[Judged]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one run did. `errors`: jobs whose row could not be changed; the log has the reason.

    `watched_seconds`: for how long some web process that still beats has been taking updates; None
    while there is none, and then there are no verdicts.
    """

    stalled: int
    failed: int
    errors: int
    watched_seconds: float | None


def run_once(database: Database, config: Config, now: datetime | None = None) -> Sweep:
    """Stall and fail the jobs that have been silent for too long.

    `now` is for tests; without it the database's clock counts. Idempotent, and safe beside ingest
    and beside itself. Raises DatabaseUnavailable, then with some pages done.
    """
    with database.reading() as conn:
        now, watches = store.read_watches(conn, now)
    stall = _verdict(now, watches, config.stale_after_seconds, stall_text)
    fail = _verdict(now, watches, config.fail_after_seconds, fail_text)
    # Failing first: what is stalled now is failed by a later run at the earliest, however silent.
    failed, not_failed = _judge_all(database, "stalled", store.fail_jobs, fail)
    stalled, not_stalled = _judge_all(database, "running", store.stall_jobs, stall)
    watched = max((watch.seconds for watch in watches), default=None)
    return Sweep(stalled, failed, not_failed + not_stalled, watched)


def _verdict(
    now: datetime, watches: list[Watch], threshold_seconds: int, text: Callable[[int], str]
) -> Verdict | None:
    since = silent_since(watches, threshold_seconds)
    if since is None:
        return None
    return Verdict(now, since, threshold_seconds, text(threshold_seconds))


def _judge_all(
    database: Database, status: str, judge: Judge, verdict: Verdict | None
) -> tuple[int, int]:
    """Judge every silent job of a status; how many were changed, and how many could not be."""
    if verdict is None:
        return 0, 0
    changed = errors = 0
    for page in _pages(database, status, verdict):
        judged, failures = _judge_page(database, judge, [job.id for job in page], verdict)
        changed += len(judged)
        errors += failures
        for job in judged:
            logger.warning(
                "Stale job %s: %s",
                job.job_id,
                verdict.text,
                extra={"job_id": job.job_id, "silent_seconds": round(job.silent_seconds, 1)},
            )
    return changed, errors


def _pages(database: Database, status: str, verdict: Verdict) -> Iterator[list[SilentJob]]:
    """The silent jobs in pages. By key and not anew each time: some may stay as they are."""
    after: SilentJob | None = None
    while True:
        with database.reading() as conn:
            page = store.read_silent_jobs(
                conn, status, verdict.silent_since, after=after, limit=PAGE_JOBS
            )
        if page:
            yield page
        if len(page) < PAGE_JOBS:
            return
        after = page[-1]


def _judge_page(
    database: Database, judge: Judge, ids: list[int], verdict: Verdict
) -> tuple[list[Judged], int]:
    """Judge some jobs in one transaction; halve them until one that cannot be changed is alone."""
    try:
        with database.transaction() as conn:
            return judge(conn, ids, verdict), 0
    except Unavailable:
        raise
    except Exception:
        if len(ids) == 1:
            logger.exception("the stale job with id %d cannot be changed", ids[0])
            return [], 1
    middle = len(ids) // 2
    judged, errors = _judge_page(database, judge, ids[:middle], verdict)
    more, more_errors = _judge_page(database, judge, ids[middle:], verdict)
    return judged + more, errors + more_errors
