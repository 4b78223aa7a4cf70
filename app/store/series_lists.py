"""Reads series of runs for the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from app.clock import isoformat
from app.database.pool import Connection
from app.store.sql import load_queries


def _shown(column: str) -> str:
    """SQL: a run of a series, named by a column with its key, as the API shows it; NULL: none."""
    return f"""(
    SELECT jsonb_build_object(
        'job_id', job_of(jobs.job_id), 'run', run_of(jobs.job_id), 'status', jobs.status,
        'result', CASE WHEN jobs.status = 'completed' THEN series_runs.result END,
        'started_at', jobs.started_at, 'completed_at', jobs.completed_at,
        'bytes_transferred', jobs.bytes_transferred)
    FROM jobs
    LEFT JOIN series_runs USING (id)
    WHERE jobs.job_id = series.{column})"""


SQL = load_queries(
    "series_lists", last_run=_shown("last_run"), last_good_run=_shown("last_good_run")
)


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Filters for series; None does not restrict. `attention`: kinds of open items, or any."""

    states: Sequence[str] | None = None
    attention: Sequence[str] | None = None
    vm_name: str | None = None
    job_type: str | None = None
    repository_id: str | None = None
    id: int | None = None


_CONDITIONS: dict[str, LiteralString] = {
    "states": "series.state = ANY(%(states)s::text[])",
    "attention": "series.id IN (SELECT series_id FROM attention WHERE until IS NULL"
    " AND ('any' = ANY(%(attention)s::text[]) OR kind = ANY(%(attention)s::text[])))",
    "vm_name": "series.vm_name = %(vm_name)s",
    "job_type": "series.job_type = %(job_type)s",
    "repository_id": "series.repository_id = %(repository_id)s",
    "id": "series.id = %(id)s",
}
_AFTER: LiteralString = "(series.name, series.id) > (%(after_name)s, %(after_id)s::bigint)"


def list_series(
    conn: Connection, wanted: SeriesFilter, limit: int, after: tuple[str, int] | None = None
) -> list[dict[str, Any]]:
    """At most `limit` series as the API shows them, by machine (or job) and number."""
    conditions, values = chosen(wanted, after)
    query = SQL["list_series"].replace("{conditions}", conditions)
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, {**values, "limit": limit}).fetchall()
    return [_shown_series(row) for row in rows]


def chosen(
    wanted: SeriesFilter, after: tuple[str, int] | None
) -> tuple[LiteralString, dict[str, Any]]:
    """SQL: the condition of a page of series, and its parameters."""
    conditions: list[LiteralString] = []
    values: dict[str, Any] = {}
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(condition)
            values[name] = list(value) if isinstance(value, tuple) else value
    if after is not None:
        conditions.append(_AFTER)
        values["after_name"], values["after_id"] = after
    return " AND ".join(conditions) or "true", values


def read_one(conn: Connection, series_id: int) -> dict[str, Any] | None:
    """One series as the API shows it; None if unknown."""
    found = list_series(conn, SeriesFilter(id=series_id), 1)
    return found[0] if found else None


def _shown_series(row: dict[str, Any]) -> dict[str, Any]:
    usual = row["usual"] or {"runs": 0}
    bands = {name: usual.get(name) for name in ("bytes", "seconds", "bps")}
    for name in ("last_run", "last_good_run"):
        if row[name] is not None:
            row[name] |= {
                each: _instant(row[name][each]) for each in ("started_at", "completed_at")
            }
    return {**row, "usual": {"runs": usual["runs"], **bands}}


def _instant(text: str | None) -> str | None:
    """An instant as the database writes it in JSON, as the API does."""
    return None if text is None else isoformat(datetime.fromisoformat(text))
