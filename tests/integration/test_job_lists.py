"""Lists of jobs by every combination of filters, page by page, and counts of a time range."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest

from app.database.pool import Connection
from app.domain.statuses import END_STATUSES, JOB_STATUSES
from app.store.jobs import Job, JobFilter, count_jobs_by_status, list_jobs
from tests.factories import NOW

COUNT = 120
PAGE = 7
STATUSES = (None, ("cancelled",), ("running", "stalled"), ("failed", "completed", "pending"))
TYPES = (None, "backup", "verify", "unknown")
MACHINES = (None, "vm-1", "vm-2")
REPOSITORIES = (None, "repo-1")
FROM = (None, NOW + timedelta(seconds=3))
BEFORE = (None, NOW + timedelta(seconds=6))
FILTERS = [
    JobFilter(*values)
    for values in itertools.product(STATUSES, TYPES, MACHINES, REPOSITORIES, FROM, BEFORE)
]


@pytest.fixture
def jobs(conn: Connection) -> list[Job]:
    """Random jobs, many created at the same instant; all of them, the newest first."""
    chance = random.Random(7)
    for number in range(COUNT):
        status = chance.choice(JOB_STATUSES)
        has_ended = status in END_STATUSES
        created_at = NOW + timedelta(seconds=chance.randrange(9))
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, vm_name, repository_id, status, created_at,"
            " completed_at, ended_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                f"j{number}",
                chance.choice(["backup", "backup", "verify"]),
                chance.choice(MACHINES),
                chance.choice(REPOSITORIES),
                status,
                created_at,
                created_at if has_ended else None,
                "sender" if has_ended else None,
            ],
        )
    found = list_jobs(conn, JobFilter(), COUNT)
    assert len(found) == COUNT
    return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)


def is_wanted(job: Job, wanted: JobFilter) -> bool:
    return (
        (wanted.statuses is None or job.status in wanted.statuses)
        and wanted.job_type in (None, job.job_type)
        and wanted.vm_name in (None, job.vm_name)
        and wanted.repository_id in (None, job.repository_id)
        and (wanted.created_from is None or job.created_at >= wanted.created_from)
        and (wanted.created_before is None or job.created_at < wanted.created_before)
    )


def pages(conn: Connection, wanted: JobFilter) -> list[Job]:
    """All pages of a list, one after the other."""
    found: list[Job] = []
    before = None
    while page := list_jobs(conn, wanted, PAGE, before):
        found += page
        before = page[-1].created_at, page[-1].id
    return found


def test_every_filter_lists_and_counts_what_it_names(conn: Connection, jobs: list[Job]) -> None:
    for wanted in FILTERS:
        expected = [job for job in jobs if is_wanted(job, wanted)]
        assert pages(conn, wanted) == expected, wanted
        counts = dict.fromkeys(JOB_STATUSES, 0)
        for job in expected:
            counts[job.status] += 1
        assert count_jobs_by_status(conn, wanted) == counts, wanted


def test_a_job_id_is_listed_with_other_filters(conn: Connection, jobs: list[Job]) -> None:
    for job in jobs[:10]:
        for wanted in (
            JobFilter(job_id=job.job_id),
            JobFilter(job_id=job.job_id, statuses=(job.status,), job_type=job.job_type),
        ):
            assert list_jobs(conn, wanted, 5) == [job]
            assert count_jobs_by_status(conn, wanted)[job.status] == 1
        assert list_jobs(conn, JobFilter(job_id=job.job_id, job_type="unknown"), 5) == []
