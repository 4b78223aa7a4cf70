"""Reads jobs, their disks and events, and machines, in one statement each. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, LiteralString, TypeVar

from psycopg import Cursor
from psycopg.rows import class_row
from psycopg.sql import SQL, Literal

from app.database.pool import Connection
from app.domain.statuses import JOB_STATUSES
from app.store.sql import load_queries


@dataclass(frozen=True)
class JobFilter:
    """Filters for jobs; None does not restrict.

    `created_from` (inclusive) and `created_before` (exclusive) apply to `created_at`, the hub's
    clock.
    """

    statuses: tuple[str, ...] | None = None
    job_type: str | None = None
    vm_name: str | None = None
    repository_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class Job:
    """One row of `jobs`. Sizes in bytes, speed in bytes per second."""

    id: int
    job_id: str
    job_type: str
    vm_name: str | None
    repository_id: str | None
    backup_type: str | None
    status: str
    current_phase: str
    bytes_transferred: int
    total_bytes: int
    transfer_speed_bps: int
    eta_seconds: int
    progress_percent: float
    error_message: str | None
    warnings: dict[str, str]
    created_at: datetime
    started_at: datetime
    completed_at: datetime | None
    ended_by: str | None
    newest_update_at: datetime | None
    last_telemetry_at: datetime | None
    last_progress_at: datetime | None
    clock_offset_seconds: float | None


Row = TypeVar("Row")

QUERIES = load_queries("jobs", job_columns=", ".join(each.name for each in fields(Job)))


@dataclass(frozen=True)
class JobDetail(Job):
    """A job with its summary, and its disks ascending by index.

    A disk maps the columns of `job_disks` to values; its instant is an ISO 8601 text.
    """

    performance_metrics: dict[str, Any] | None
    disks: list[dict[str, Any]]


@dataclass(frozen=True)
class JobEvent:
    """One row of `job_events`: a transition, or a warning (no statuses)."""

    id: int
    time: datetime
    kind: str
    from_status: str | None
    to_status: str | None
    actor: str
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """A machine: its jobs counted by status, and its newest job's fields."""

    vm_name: str
    by_status: dict[str, int]
    job_id: str
    job_type: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    newest_update_at: datetime | None
    bytes_transferred: int
    error_message: str | None


def list_jobs(
    conn: Connection, wanted: JobFilter, limit: int, before: tuple[datetime, int] | None = None
) -> list[Job]:
    """At most `limit` jobs, newest first by (created_at, id), below the keyset `before`."""
    # A machine has an index of its own, and a job_id is one row.
    is_by_status = (wanted.vm_name, wanted.job_id) == (None, None) and bool(
        wanted.statuses or wanted.job_type or wanted.repository_id
    )
    name = "list_jobs"
    if is_by_status:
        name, wanted = "list_jobs_by_status", _with_statuses(wanted)
    cursor = conn.cursor(row_factory=class_row(Job))
    return _run(cursor, name, wanted, before, limit).fetchall()


def read_job(conn: Connection, job_id: str) -> JobDetail | None:
    """Read one job with its disks, both of the same commit; None if unknown."""
    cursor = conn.cursor(row_factory=class_row(JobDetail))
    return cursor.execute(QUERIES["read_job"], {"job_id": job_id}).fetchone()


def count_jobs_by_status(conn: Connection, wanted: JobFilter) -> dict[str, int]:
    """How many jobs have each of JOB_STATUSES, 0 where none.

    Reads kept counts, unless the filter has a range or a job_id: then it reads the keys of the jobs
    in that range.
    """
    if (wanted.created_from, wanted.created_before, wanted.job_id) != (None, None, None):
        name, wanted = "count_jobs", _with_statuses(wanted)
    else:
        name = "read_counts" if wanted.vm_name is None else "read_counts_of_machine"
    rows = _run(conn.cursor(), name, wanted).fetchall()
    return dict.fromkeys(JOB_STATUSES, 0) | dict(rows)


def list_events(conn: Connection, job_id: str, limit: int, after_id: int = 0) -> list[JobEvent]:
    """At most `limit` events of a job, ascending by id, above `after_id`."""
    cursor = conn.cursor(row_factory=class_row(JobEvent))
    values = {"job_id": job_id, "after_id": after_id, "limit": limit}
    return cursor.execute(QUERIES["list_events"], values).fetchall()


def job_exists(conn: Connection, job_id: str) -> bool:
    """Whether the job exists."""
    row = conn.execute(QUERIES["job_exists"], {"job_id": job_id}).fetchone()
    return row is not None and bool(row[0])


def list_machines(conn: Connection, limit: int, after_name: str = "") -> list[Machine]:
    """At most `limit` machines ascending by name, above `after_name`."""
    cursor = conn.cursor(row_factory=class_row(Machine))
    values = {"after_name": after_name, "limit": limit}
    return cursor.execute(QUERIES["list_machines"], values).fetchall()


_CONDITIONS: Mapping[str, LiteralString] = {
    "statuses": "status = ANY(%(statuses)s)",
    "job_type": "job_type = %(job_type)s",
    "vm_name": "vm_name = %(vm_name)s",
    "repository_id": "repository_id = %(repository_id)s",
    "created_from": "created_at >= %(created_from)s",
    "created_before": "created_at < %(created_before)s",
    "job_id": "job_id = %(job_id)s",
}
_IN_STATEMENT = {("list_jobs_by_status", "statuses")}
_BEFORE = SQL("(created_at, id) < (%(before_created_at)s, %(before_id)s)")


def _with_statuses(wanted: JobFilter) -> JobFilter:
    """The same filter with every status named, for the indexes that begin with the status."""
    return replace(wanted, statuses=wanted.statuses or JOB_STATUSES)


def _run(
    cursor: Cursor[Row],
    name: str,
    wanted: JobFilter,
    before: tuple[datetime, int] | None = None,
    limit: int = 0,
) -> Cursor[Row]:
    """Run the named statement with the conditions of `wanted` and `before`."""
    values = {
        each.name: getattr(wanted, each.name)
        for each in fields(wanted)
        if getattr(wanted, each.name) is not None
    }
    chosen = [SQL(_CONDITIONS[key]) for key in values if (name, key) not in _IN_STATEMENT]
    if wanted.statuses is not None:
        values["statuses"] = list(wanted.statuses)
    if before is not None:
        chosen.append(_BEFORE)
        values |= {"before_created_at": before[0], "before_id": before[1]}
    conditions = SQL(" AND ").join(chosen) if chosen else SQL("true")
    query = SQL(QUERIES[name]).format(conditions=conditions, limit=Literal(limit))
    # Which of two columns selects fewer jobs depends on the values: no plan is good for all.
    columns = (wanted.job_type, wanted.vm_name, wanted.repository_id)
    needs_own_plan = sum(value is not None for value in columns) > 1
    return cursor.execute(query, values, prepare=False if needs_own_plan else None)
