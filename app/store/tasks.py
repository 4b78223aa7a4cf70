"""Leases and last runs of the scheduled tasks; the caller commits.

`now` is for tests: without it the database's own clock counts, never this process's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.staleness import BEAT_GAP_SECONDS, FUTURE_SECONDS
from app.errors import DatabaseUnavailable
from app.store.sql import load_queries

SQL = load_queries("tasks")

LATE_AFTER_INTERVALS = 3  # one missed run is a busy moment, three are a dead process


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task's last run. `age_seconds` since it ended, or since the task is known if none has."""

    task_id: str
    interval_seconds: int
    last_started_at: datetime | None
    last_finished_at: datetime | None
    last_duration_seconds: float | None
    last_result: Any
    last_error: str | None
    age_seconds: float

    @property
    def is_late(self) -> bool:
        return self.age_seconds > LATE_AFTER_INTERVALS * self.interval_seconds


def claim_task(
    conn: Connection,
    task_id: str,
    holder: str,
    *,
    interval_seconds: int,
    lease_seconds: float,
    now: datetime | None = None,
) -> bool:
    """Take the task's lease; whether it is `holder`'s now.

    False when it is not due yet or another holder's lease is valid. Raises DatabaseUnavailable
    while the schema is not there.
    """
    params = {
        "task_id": task_id,
        "holder": holder,
        "interval_seconds": interval_seconds,
        "lease_seconds": lease_seconds,
        "future_seconds": FUTURE_SECONDS,
        "now": now,
    }
    try:
        return conn.execute(SQL["claim_task"], params).fetchone() is not None
    except psycopg.errors.UndefinedTable as exc:
        raise DatabaseUnavailable("The database's schema is not there yet.") from exc


def renew_lease(
    conn: Connection,
    task_id: str,
    holder: str,
    lease_seconds: float,
    now: datetime | None = None,
) -> bool:
    """Keep the lease for `lease_seconds` more; False when it has become another's."""
    params = {"task_id": task_id, "holder": holder, "lease_seconds": lease_seconds, "now": now}
    return conn.execute(SQL["renew_lease"], params).rowcount == 1


def finish_task(
    conn: Connection,
    task_id: str,
    holder: str,
    *,
    duration_seconds: float,
    result: str | None,
    error: str | None,
    now: datetime | None = None,
) -> bool:
    """Record a run (`result` is JSON) and give the lease back; False when it is another's."""
    params = {
        "task_id": task_id,
        "holder": holder,
        "duration_seconds": duration_seconds,
        "result": result,
        "error": error,
        "now": now,
    }
    return conn.execute(SQL["finish_task"], params).rowcount == 1


def read_tasks(conn: Connection, now: datetime | None = None) -> list[TaskRun]:
    """The last run of every task that has ever been claimed, by id; none without the schema.

    `conn` must be in autocommit.
    """
    try:
        with conn.cursor(row_factory=class_row(TaskRun)) as cursor:
            return cursor.execute(SQL["read_tasks"], {"now": now}).fetchall()
    except psycopg.errors.UndefinedTable:
        return []


def waited_for_tasks_seconds(conn: Connection, now: datetime | None = None) -> float:
    """How long web processes have been up now, seconds; 0 when there are none, or no schema."""
    params = {"now": now, "gap_seconds": BEAT_GAP_SECONDS}
    try:
        row = conn.execute(SQL["waited_for_tasks_seconds"], params).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0.0
    return row[0] if row and row[0] is not None else 0.0
