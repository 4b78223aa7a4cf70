"""Stores the summary of each ended job: the source of its chart once its updates are dropped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from app.charts.summary import summarise_job
from app.config import Config
from app.database.pool import Database
from app.errors import Unavailable
from app.store import summaries as store
from app.store.history import use_one_snapshot
from app.store.summaries import UnsummarisedJob

logger = logging.getLogger("hub.tasks.summaries")

PAGE_JOBS = 500
# After a restore or an upgrade there may be very many jobs. The next run continues, so that a
# process can stop soon.
LONGEST_RUN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Summaries:
    """The result of a run. `overtaken`: jobs that got an update meanwhile; the next run repeats
    them. `errors`: jobs that could not be summarised; see the log.
    """

    written: int
    overtaken: int
    errors: int


def run_once(database: Database, config: Config, now: datetime | None = None) -> Summaries:
    """Summarise the ended jobs without a summary; a late update deletes it. Ignores `now`."""
    written = overtaken = errors = 0
    give_up_at = time.monotonic() + LONGEST_RUN_SECONDS
    for job in _jobs(database):
        try:
            is_written = _summarise(database, job.job_id)
        except Unavailable:
            raise
        except Exception:
            logger.exception("the job %s could not be summarised", job.job_id)
            errors += 1
            continue
        written += is_written
        overtaken += not is_written
        if time.monotonic() > give_up_at:
            break
    return Summaries(written, overtaken, errors)


def _jobs(database: Database) -> Iterator[UnsummarisedJob]:
    """By key, because some jobs may stay unchanged."""
    after_id = 0
    while True:
        with database.reading() as conn:
            page = store.read_unsummarised_jobs(conn, after_id=after_id, limit=PAGE_JOBS)
        yield from page
        if len(page) < PAGE_JOBS:
            return
        after_id = page[-1].id


def _summarise(database: Database, job_id: str) -> bool:
    # In two transactions: reading may take long and must not block the job's updates.
    with database.transaction() as conn:
        use_one_snapshot(conn)
        version, summary = summarise_job(conn, job_id)
    with database.transaction() as conn:
        return store.write_summary(conn, job_id, version, summary)
