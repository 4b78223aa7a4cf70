"""Stores the summary of ended jobs; the caller commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from psycopg.rows import class_row

from app.database.pool import Connection
from app.store.sql import load_queries

SQL = load_queries("summaries")

QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class UnsummarisedJob:
    """An ended job without a summary; also the key of the next page."""

    id: int
    job_id: str


def read_unsummarised_jobs(conn: Connection, *, after_id: int, limit: int) -> list[UnsummarisedJob]:
    """Ended jobs without a summary that have got no update for a moment, ascending by id."""
    values = {"after_id": after_id, "limit": limit, "quiet_seconds": QUIET_SECONDS}
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
