"""Leases and last runs of the scheduled tasks; the caller commits. `now` is for tests."""

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

LATE_AFTER_INTERVALS = 3  # a busy process misses one run, a dead one all
LATE_AFTER_SECONDS = 30  # at least: as long as the lease of a dead process lasts


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task's last run. `age_seconds` since its end, or since the task was first claimed."""

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
        return self.age_seconds > self.late_after_seconds

    @property
    def late_after_seconds(self) -> int:
        return max(LATE_AFTER_INTERVALS * self.interval_seconds, LATE_AFTER_SECONDS)


def claim_task(
    conn: Connection,
    task_id: str,
    holder: str,
    *,
    interval_seconds: int,
    lease_seconds: float,
    now: datetime | None = None,
) -> bool:
    """Take the task's lease; False if it is not due or another holder's lease is valid.

    Raises DatabaseUnavailable if the schema does not exist yet.
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
        raise DatabaseUnavailable("The database's schema does not exist yet.") from exc


def renew_lease(
    conn: Connection,
    task_id: str,
    holder: str,
    lease_seconds: float,
    now: datetime | None = None,
) -> bool:
    """Keep the lease for `lease_seconds` more; False if another holder has it."""
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
    """Record a run (`result` is JSON) and release the lease; False if another holder has it."""
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
    """The last run of every task by id; none without the schema. `conn`: in autocommit."""
    try:
        with conn.cursor(row_factory=class_row(TaskRun)) as cursor:
            return cursor.execute(SQL["read_tasks"], {"now": now}).fetchall()
    except psycopg.errors.UndefinedTable:
        return []


def waited_for_tasks_seconds(conn: Connection, now: datetime | None = None) -> float:
    """How long web processes have been up, seconds; 0 without any, or without the schema."""
    params = {"now": now, "gap_seconds": BEAT_GAP_SECONDS}
    try:
        row = conn.execute(SQL["waited_for_tasks_seconds"], params).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0.0
    return row[0] if row and row[0] is not None else 0.0
