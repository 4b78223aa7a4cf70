"""The clock of retention (app.domain.retention)."""

from __future__ import annotations

from datetime import datetime

from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.retention import RetentionClock
from app.store.sql import load_queries

SQL = load_queries("retention")


def advance_clock(conn: Connection, now: datetime) -> RetentionClock:
    """Record a run at `now`, and return the clock after it. The first run ever is trusted."""
    with conn.cursor(row_factory=class_row(RetentionClock)) as cursor:
        before = cursor.execute(SQL["read_clock"]).fetchone()
    clock = RetentionClock(now) if before is None else before.next(now)
    params = {"trusted_at": clock.trusted_at, "runs_ahead": clock.runs_ahead}
    conn.execute(SQL["write_clock"], params)
    return clock


def read_newest(conn: Connection) -> datetime | None:
    """The time of the newest update or snapshot that is kept; None if there is none."""
    row = conn.execute(SQL["read_newest"]).fetchone()
    return None if row is None else row[0]
