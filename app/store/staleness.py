"""Statements of the stale detector and of the web processes' beats; the caller commits.

`now` is for tests: without it the database's own clock counts, never this process's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.staleness import BEAT_GAP_SECONDS, FUTURE_SECONDS, Watch
from app.store.sql import load_queries

SQL = load_queries("staleness")

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_BOUNDS = {"gap_seconds": BEAT_GAP_SECONDS, "future_seconds": FUTURE_SECONDS}


@dataclass(frozen=True, slots=True)
class SilentJob:
    """A job that may be stale, and where its page continues."""

    id: int
    last_telemetry_at: datetime


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of the status of silent jobs or nodes; instants on the database's clock."""

    now: datetime
    silent_since: datetime  # a job with a later sign of life is left alone
    threshold_seconds: int
    text: str
    clock: datetime | None = None  # not applied if it shows an earlier time; None: for tests


@dataclass(frozen=True, slots=True)
class Judged:
    """A job whose status was changed, and how long it had been silent."""

    job_id: str
    silent_seconds: float


def beat(conn: Connection, process_id: str, now: datetime | None = None) -> None:
    """Note that a web process takes updates; its watch starts again after a gap.

    Likewise after the clock was set back.
    """
    conn.execute(SQL["beat"], {"process_id": process_id, "now": now, **_BOUNDS})


def end_beat(conn: Connection, process_id: str) -> None:
    """Note that a web process takes no more updates."""
    conn.execute(SQL["end_beat"], {"process_id": process_id})


def forget_old_beats(conn: Connection) -> None:
    """Delete the rows of processes that were killed long ago."""
    conn.execute(SQL["forget_old_beats"])


def read_watches(conn: Connection, now: datetime | None = None) -> tuple[datetime, list[Watch]]:
    """The clock, and the watches of the web processes that beat now."""
    row = conn.execute(SQL["read_clock"], {"now": now}).fetchone()
    assert row is not None
    with conn.cursor(row_factory=class_row(Watch)) as cursor:
        params = {"now": row[0], **_BOUNDS}
        return row[0], cursor.execute(SQL["read_watches"], params).fetchall()


def bring_back_jobs(conn: Connection, now: datetime) -> int:
    """Let the silence of live jobs count from now where the clock was set back; of how many.

    Skips those that are being written, as that is life.
    """
    params = {"now": now, "future_seconds": FUTURE_SECONDS}
    return conn.execute(SQL["bring_back_jobs"], params).rowcount


def read_silent_jobs(
    conn: Connection,
    status: str,
    silent_since: datetime,
    *,
    after: SilentJob | None,
    limit: int,
) -> list[SilentJob]:
    """Jobs of a status without an update after `silent_since`, the most silent first; no lock."""
    params = {
        "status": status,
        "silent_since": silent_since,
        "after_at": _BEGINNING if after is None else after.last_telemetry_at,
        "after_id": 0 if after is None else after.id,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(SilentJob)) as cursor:
        return cursor.execute(SQL["read_silent_jobs"], params).fetchall()


def stall_jobs(conn: Connection, ids: Sequence[int], status_change: StatusChange) -> list[Judged]:
    """Stall those of the jobs that still run and are still silent; ascending by job_id."""
    return _judge(conn, "stall_jobs", ids, status_change)


def fail_jobs(conn: Connection, ids: Sequence[int], status_change: StatusChange) -> list[Judged]:
    """Fail those of the jobs that are still stalled and silent, with their unfinished disks."""
    return _judge(conn, "fail_jobs", ids, status_change)


def _judge(
    conn: Connection, name: str, ids: Sequence[int], status_change: StatusChange
) -> list[Judged]:
    params = {
        "ids": list(ids),
        "now": status_change.now,
        "silent_since": status_change.silent_since,
        "threshold_seconds": status_change.threshold_seconds,
        "text": status_change.text,
        "clock": status_change.clock,
    }
    return [Judged(job_id, silent) for job_id, silent in conn.execute(SQL[name], params)]
