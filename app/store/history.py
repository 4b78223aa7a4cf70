"""Reads the series of a job or of one of its disks for a chart. Writes nothing.

The functions of one chart belong in one transaction that began with `use_one_snapshot`. `Series`
says whose updates; each later source of charts gives the same `Bucket`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import args_row, class_row
from psycopg.sql import SQL, Composed

from app.db import Connection
from app.domain.chart import Bucket, Window
from app.domain.stretches import GAP_SECONDS, MOST_STRETCHES, Gap, Phase, Stretches
from app.store.sql import load_queries

QUERIES = load_queries("history")


@dataclass(frozen=True)
class ChartedJob:
    """What a chart tells of its job. Sizes in bytes, 0 while unknown."""

    job_id: str
    job_type: str
    vm_name: str | None
    status: str
    started_at: datetime
    completed_at: datetime | None
    newest_update_at: datetime | None
    bytes_transferred: int
    total_bytes: int


@dataclass(frozen=True)
class ChartedDisk:
    """Sizes of one disk in bytes, 0 while unknown."""

    bytes_transferred: int
    total_bytes: int


@dataclass(frozen=True)
class Series:
    """The updates of a job, or those of one of its disks."""

    job_id: str
    disk: int | None = None

    def statement(self, name: str) -> Composed:
        """The named statement over this series."""
        series = "job_series" if self.disk is None else "disk_series"
        return SQL(QUERIES[name]).format(series=SQL(QUERIES[series]))

    def values(self, window: Window) -> dict[str, Any]:
        """What the statement's series and its window are."""
        return {"job_id": self.job_id, "disk": self.disk, **_bounds(window)}


def use_one_snapshot(conn: Connection) -> None:
    """Let all that follows in this transaction see the same commits, and write nothing.

    It must be the transaction's first statement.
    """
    conn.execute(QUERIES["use_one_snapshot"])


def read_charted_job(conn: Connection, job_id: str) -> ChartedJob | None:
    """One job."""
    cursor = conn.cursor(row_factory=class_row(ChartedJob))
    return cursor.execute(QUERIES["read_charted_job"], {"job_id": job_id}).fetchone()


def read_charted_disk(conn: Connection, series: Series, span: Window) -> ChartedDisk | None:
    """One disk; None if the job neither registered nor reported it in its span."""
    cursor = conn.cursor(row_factory=class_row(ChartedDisk))
    return cursor.execute(QUERIES["read_charted_disk"], series.values(span)).fetchone()


def count_updates(conn: Connection, series: Series, window: Window, limit: int) -> int:
    """How many updates the window holds, counting no further than `limit`."""
    values = series.values(window) | {"limit": limit}
    row = conn.execute(series.statement("count_updates"), values).fetchone()
    return 0 if row is None else int(row[0])


def read_updates(conn: Connection, series: Series, window: Window) -> list[Bucket]:
    """Every update of the window as a bucket of its own, by time, those of one instant by seq.

    The window's size is the caller's to check (`count_updates`).
    """
    cursor = conn.cursor(row_factory=args_row(Bucket))
    return cursor.execute(series.statement("read_updates"), series.values(window)).fetchall()


def read_buckets(
    conn: Connection, series: Series, window: Window, step_seconds: int
) -> list[Bucket]:
    """The buckets of the window that have updates, ascending, in whole steps since 1970."""
    values = series.values(window) | {"step_seconds": step_seconds}
    cursor = conn.cursor(row_factory=args_row(Bucket))
    return cursor.execute(series.statement("read_buckets"), values).fetchall()


def read_stretches(conn: Connection, job: ChartedJob, span: Window, window: Window) -> Stretches:
    """The gaps that overlap the window, cut to it, and the phases of the whole run.

    `span` holds every update of the job. At most MOST_STRETCHES of either, the longest.
    """
    values = {
        "job_id": job.job_id,
        "newest_update_at": job.newest_update_at,
        "gap_seconds": GAP_SECONDS,
        "most": MOST_STRETCHES,
        "window_from_at": window.from_at,
        "window_before_at": window.before_at,
        **_bounds(span),
    }
    rows = conn.execute(QUERIES["read_stretches"], values).fetchall()
    gaps = [row for row in rows if row[0] == "gap"]
    phases = [row for row in rows if row[0] == "phase"]
    return Stretches(
        gaps=[Gap(row[2], row[3], "silence") for row in gaps],
        phases=[Phase(*row[1:5]) for row in phases],
        gaps_omitted=_omitted(gaps),
        phases_omitted=_omitted(phases),
    )


def _omitted(rows: list[tuple[Any, ...]]) -> int:
    """How many more were found than are in `rows`."""
    return rows[0][5] - len(rows) if rows else 0


def _bounds(window: Window) -> dict[str, Any]:
    return {"from_at": window.from_at, "before_at": window.before_at}
