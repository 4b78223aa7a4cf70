"""Lists of jobs by every combination of filters and orders, page by page, and counts of a range."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.database.pool import Connection
from app.domain.estimates import duration_seconds
from app.domain.job_lists import NEWEST_FIRST, SORTS, Order
from app.domain.statuses import END_STATUSES, JOB_STATUSES
from app.store import jobs as store
from app.store.jobs import Job, JobFilter, Key, count_jobs_by_status, list_jobs
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
ACTIVE_FILTERS = [
    JobFilter(statuses, kind, active=(start, end))
    for statuses in STATUSES
    for kind in (None, "backup")
    for start in (None, NOW, NOW + timedelta(seconds=5))
    for end in (None, NOW + timedelta(seconds=6))
]
SOME = [
    JobFilter(),
    JobFilter(("running", "pending")),
    JobFilter(("failed", "stalled")),
    JobFilter(("completed",), job_type="backup"),
    JobFilter(vm_name="vm-1", started_from=FROM[1]),
    JobFilter(active=(NOW + timedelta(seconds=5), NOW + timedelta(seconds=6))),
]
ORDERS = [Order(sort, ascending) for sort in SORTS for ascending in (False, True)]


@pytest.fixture
def jobs(conn: Connection) -> list[Job]:
    """Random jobs, many started at the same instant; all of them, the newest first.

    They arrived in another order than they ran.
    """
    chance = random.Random(7)
    for number in range(COUNT):
        status = chance.choice(JOB_STATUSES)
        has_ended = status in END_STATUSES
        started_at = NOW + timedelta(seconds=chance.randrange(9))
        seen_at = started_at + timedelta(seconds=chance.choice([0, 1, 1.5, 40]))
        # The clock of one sender was set back in the run.
        ended_at = NOW - timedelta(seconds=5) if chance.random() < 0.05 else seen_at
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, vm_name, repository_id, status, created_at,"
            " started_at, newest_update_at, bytes_transferred, completed_at, ended_by,"
            " error_message) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                f"j{number}",
                chance.choice(["backup", "backup", "verify"]),
                chance.choice(MACHINES),
                chance.choice(REPOSITORIES),
                status,
                NOW + timedelta(seconds=chance.randrange(9)),
                started_at,
                None if status == "pending" else seen_at,
                0 if status == "pending" else chance.choice([0, 10, 20, 2**62]),
                ended_at if has_ended else None,
                "sender" if has_ended else None,
                chance.choice([None, "Disk full", "100% of\\the_quota"]),
            ],
        )
    found = list_jobs(conn, JobFilter(), COUNT).jobs
    assert len(found) == COUNT
    return sorted(found, key=lambda job: (job.started_at, job.id), reverse=True)


def is_wanted(job: Job, wanted: JobFilter) -> bool:
    return (
        (wanted.statuses is None or job.status in wanted.statuses)
        and wanted.job_type in (None, job.job_type)
        and wanted.vm_name in (None, job.vm_name)
        and wanted.repository_id in (None, job.repository_id)
        and (wanted.started_from is None or job.started_at >= wanted.started_from)
        and (wanted.started_before is None or job.started_at < wanted.started_before)
        and (wanted.active is None or was_active(job, *wanted.active))
    )


def was_active(job: Job, start: datetime | None, end: datetime | None) -> bool:
    ended_at = job.completed_at and max(job.completed_at, job.started_at)
    return (
        job.status != "pending"
        and (start is None or ended_at is None or ended_at >= start)
        and (end is None or job.started_at < end)
    )


def figure_of(job: Job, sort: str) -> Any:
    seconds = duration_seconds(job.started_at, job.completed_at, job.newest_update_at) or 0
    return {
        "started_at": job.started_at,
        "duration": seconds,
        "bytes": job.bytes_transferred,
        "speed": job.bytes_transferred / seconds if seconds else 0,
    }[sort]


def pages(
    conn: Connection, wanted: JobFilter, order: Order = NEWEST_FIRST, text: str | None = None
) -> list[Job]:
    """All pages of a list, one after the other."""
    found: list[Job] = []
    after: Key | None = None
    while True:
        page = list_jobs(conn, wanted, PAGE, order, after, text)
        assert len(page.jobs) <= PAGE
        found += page.jobs
        if page.next_key is None:
            return found
        after = page.next_key


def count(jobs: list[Job]) -> dict[str, int]:
    counts = dict.fromkeys(JOB_STATUSES, 0)
    for job in jobs:
        counts[job.status] += 1
    return counts


def test_every_filter_lists_and_counts_what_it_names(conn: Connection, jobs: list[Job]) -> None:
    for wanted in (*FILTERS, *ACTIVE_FILTERS):
        expected = [job for job in jobs if is_wanted(job, wanted)]
        assert pages(conn, wanted) == expected, wanted
        assert count_jobs_by_status(conn, wanted) == count(expected), wanted


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_lists_each_job_once(conn: Connection, jobs: list[Job], order: Order) -> None:
    for wanted in SOME:
        expected = sorted(
            (job for job in jobs if is_wanted(job, wanted)),
            key=lambda job: (figure_of(job, order.sort), job.id),
            reverse=not order.is_ascending,
        )
        assert pages(conn, wanted, order) == expected, wanted


@pytest.mark.parametrize("text", ["j1", "VM-1", "repo", "disk F", "%", "\\", "_", "no such text"])
@pytest.mark.parametrize("examined", [5, PAGE, 5_000])
def test_a_search_finds_what_contains_the_text_in_any_case(
    conn: Connection,
    jobs: list[Job],
    text: str,
    examined: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MOST_EXAMINED", examined)
    monkeypatch.setitem(
        store.QUERIES, "search_jobs", store.QUERIES["search_jobs"].replace("5000", str(examined))
    )

    def contains(job: Job) -> bool:
        texts = (job.job_id, job.vm_name, job.repository_id, job.error_message)
        return any(text.lower() in (each or "").lower() for each in texts)

    for wanted in SOME[:4]:
        expected = [job for job in jobs if is_wanted(job, wanted) and contains(job)]
        assert pages(conn, wanted, text=text) == expected, wanted
        oldest_first = Order(is_ascending=True)
        assert pages(conn, wanted, oldest_first, text) == expected[::-1], wanted
        by_bytes = sorted(expected, key=lambda job: (job.bytes_transferred, job.id), reverse=True)
        assert pages(conn, wanted, Order("bytes"), text) == by_bytes, wanted


def test_a_job_id_is_listed_with_other_filters(conn: Connection, jobs: list[Job]) -> None:
    for job in jobs[:10]:
        for wanted in (
            JobFilter(job_id=job.job_id),
            JobFilter(job_id=job.job_id, statuses=(job.status,), job_type=job.job_type),
        ):
            assert list_jobs(conn, wanted, 5).jobs == [job]
            assert count_jobs_by_status(conn, wanted)[job.status] == 1
        assert list_jobs(conn, JobFilter(job_id=job.job_id, job_type="unknown"), 5).jobs == []
