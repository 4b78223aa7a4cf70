"""Reads what became of the days of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.attention.nights import Days
from app.store.series import BAD_FINDING, RUN_BYTES
from app.store.series_lists import SeriesFilter, chosen
from app.store.sql import load_queries

SQL = load_queries("nights", run_bytes=RUN_BYTES)


@dataclass(frozen=True, slots=True)
class SeriesNights:
    """A series and the days on which it ran. The lists from `days` on are as long, ascending by it.

    `days`: numbers of days; the others tell of the run of that day that counts: its state, key,
    bytes (None: not known) and seconds (None: it has not ended); and of how many runs there were,
    and how many of them failed.
    """

    id: int
    vm_name: str | None
    job_id: str | None
    job_type: str
    repository_id: str | None
    backup_type: str | None
    last_run: str | None
    distance_seconds: float | None
    overdue_at: datetime | None
    days: list[int]
    states: list[str] | None
    keys: list[str] | None
    bytes: list[int | None] | None
    seconds: list[float | None] | None
    runs: list[int] | None
    failures: list[int] | None


@dataclass(frozen=True, slots=True)
class Starts:
    """When the good runs of a series began, and all; seconds since 1970, ascending."""

    good: list[float]
    all: list[float]


def list_nights(
    conn: Connection,
    wanted: SeriesFilter,
    days: Days,
    limit: int,
    after: tuple[str, int] | None = None,
) -> list[SeriesNights]:
    """At most `limit` series with their days, by machine (or job) and number."""
    conditions, values = chosen(wanted, after)
    query = SQL["list_nights"].replace("{conditions}", conditions)
    values |= {
        "limit": limit,
        "bounds": list(days.bounds),
        "from": days.bounds[0],
        "before": days.bounds[-1],
    }
    with conn.cursor(row_factory=class_row(SeriesNights)) as cursor:
        return cursor.execute(query, values).fetchall()


def read_starts(conn: Connection, since: Mapping[int, datetime]) -> dict[int, Starts]:
    """When the runs of series, by number, began since an instant. Without those that have none."""
    series: Sequence[int] = list(since)
    params: dict[str, Any] = {
        "series": series,
        "since": [since[each] for each in series],
        "bad": BAD_FINDING,
    }
    rows = conn.execute(SQL["read_starts"], params)
    return {series_id: Starts(good, starts) for series_id, good, starts in rows}
