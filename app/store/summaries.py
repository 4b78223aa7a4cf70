"""Stores the summary of ended jobs; the caller commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.staleness import FUTURE_SECONDS
from app.store.sql import load_queries

SQL = load_queries("summaries")


@dataclass(frozen=True, slots=True)
class UnsummarisedJob:
    """An ended job without a summary; also the key of the next page."""

    id: int
    job_id: str


def read_refreshed_at(conn: Connection) -> datetime | None:
    """The time before which the jobs' rollups have all updates; None if unknown."""
    row = conn.execute(SQL["read_refreshed_at"], {"future_seconds": FUTURE_SECONDS}).fetchone()
    return None if row is None else row[0]


def read_unsummarised_jobs(
    conn: Connection, *, refreshed_at: datetime | None, after_id: int, limit: int
) -> list[UnsummarisedJob]:
    """Ended jobs without a summary whose updates are all in the rollups, ascending by id."""
    values = {"refreshed_at": refreshed_at, "after_id": after_id, "limit": limit}
    with conn.cursor(row_factory=class_row(UnsummarisedJob)) as cursor:
        return cursor.execute(SQL["read_unsummarised_jobs"], values).fetchall()


def write_summary(conn: Connection, job_id: str, version: str, summary: dict[str, Any]) -> bool:
    """Store the summary; return False if the job's row has another version by now."""
    values = {
        "job_id": job_id,
        "version": version,
        "summary": orjson.dumps(summary).decode(),
    }
    return conn.execute(SQL["write_summary"], values).rowcount == 1
