"""Reads and writes of `python -m app repair`; the caller commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.fields import DISK_FIELDS
from app.domain.rollups import Rollup
from app.store.sql import load_queries

SQL = load_queries("repair")

# Where `field_times` keeps the instant of a disk's bytes; arrays count from 1.
_BYTES_FIELD = list(DISK_FIELDS).index("bytes_transferred") + 1


@dataclass(frozen=True, slots=True)
class CompletedJob:
    """The bytes of a completed job: as stored (`before`), and as the sum of its disks (`after`).

    `after` is None unless there are disks and each has reported bytes.
    """

    id: int
    job_id: str
    before: int
    after: int | None

    @property
    def is_wrong(self) -> bool:
        return self.after is not None and self.after != self.before


def read_completed(
    conn: Connection, *, after_id: int, limit: int, job_id: str | None = None
) -> list[CompletedJob]:
    """At most `limit` completed jobs, or only `job_id`, by id above `after_id`; locks nothing."""
    params = {
        "after_id": after_id,
        "limit": limit,
        "job_id": job_id,
        "bytes_field": _BYTES_FIELD,
    }
    with conn.cursor(row_factory=class_row(CompletedJob)) as cursor:
        return cursor.execute(SQL["read_completed"], params).fetchall()


def read_status(conn: Connection, job_id: str) -> str | None:
    """A job's status; None for an unknown job."""
    row = conn.execute(SQL["read_status"], {"job_id": job_id}).fetchone()
    return None if row is None else str(row[0])


def read_undivided(conn: Connection) -> list[str]:
    """The keys of the runs that have updates of later runs."""
    return [row[0] for row in conn.execute(SQL["read_undivided"])]


def repair_jobs(conn: Connection, job_ids: Sequence[str]) -> list[CompletedJob]:
    """Set the bytes of completed jobs to the sum over their disks, with an event for each.

    Idempotent. Returns the jobs that were wrong, ascending by id.
    """
    params = {"job_ids": list(job_ids), "bytes_field": _BYTES_FIELD}
    conn.execute(SQL["lock_jobs"], params)
    with conn.cursor(row_factory=class_row(CompletedJob)) as cursor:
        return cursor.execute(SQL["repair_jobs"], params).fetchall()


def count_without_bytes(conn: Connection, job_id: str | None = None) -> int:
    """How many completed jobs (or whether `job_id`) have 0 bytes."""
    row = conn.execute(SQL["count_without_bytes"], {"job_id": job_id}).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def rebuilding(conn: Connection, rollup: Rollup) -> Iterator[None]:
    """Rebuild a part of a rollup inside: charts that web processes keep are outdated by it."""
    params = {"rollup": rollup.name}
    conn.execute(SQL["note_rebuild"], params)
    try:
        yield
    finally:
        if not conn.closed:  # for charts that were read meanwhile, on the embedded engine
            conn.execute(SQL["note_rebuild"], params)
