"""Reads the gaps and phases of a job from its updates and rollups. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, LiteralString

from psycopg.sql import SQL, Composed

from app.database.pool import Connection
from app.domain.stretches import (
    FEWEST_DISTANCES,
    LEAST_GAP_SECONDS,
    MOST_STRETCHES,
    Gap,
    Phase,
    Stretches,
)
from app.domain.window import Window
from app.store.history import ChartedJob, Stale
from app.store.sql import load_queries

QUERIES = load_queries("stretches")

LONG_RUN = timedelta(days=2)  # beyond 2,880 minutes, reading the hours first is faster
# These bound the work for a job whose phase changes all the time.
MOST_OPENED_MINUTES = 200
MOST_OPENED_UPDATES = 600  # of one minute: ten a second


def read_stretches(
    conn: Connection,
    job: ChartedJob,
    span: Window,
    window: Window,
    stale: Stale,
    silent_until: datetime | None = None,
) -> Stretches:
    """The gaps that overlap the window, cut to it, and the phases of the whole run.

    `span` holds every update of the job; `stale` is what its rollups lack; `silent_until` is when a
    live job that sends nothing has still sent nothing, on its sender's clock. Returns at most the
    MOST_STRETCHES longest of each, in whole milliseconds. Changes of phase are exact while updates
    are kept, later to the minute.
    """
    # Once the minutes are gone, hours tell at least the phases and the longest gaps.
    is_long = span.before_at - span.from_at > LONG_RUN or span.from_at < job.job_minutes_from
    whole = span.widened(3600 if is_long else 60)
    stale = stale.within(whole)
    minutes = "minutes_of_suspect_hours" if is_long else "minutes_of_run"
    statement = _statement(minutes, is_stale=bool(stale.minutes or (is_long and stale.hours)))
    values = {
        **stale.values,
        "job_id": job.key,
        "from_at": whole.from_at,
        "before_at": whole.before_at,
        "minutes_from": job.job_minutes_from,
        "updates_from": job.job_updates_from,
        "least_gap_ms": LEAST_GAP_SECONDS * 1000,
        "fewest_distances": FEWEST_DISTANCES,
        "silent_until": silent_until,
        "most": MOST_STRETCHES,
        "most_opened": MOST_OPENED_MINUTES,
        "most_opened_updates": MOST_OPENED_UPDATES,
        "window_from_at": window.from_at,
        "window_before_at": window.before_at,
    }
    rows = conn.execute(statement, values).fetchall()
    gaps = [row for row in rows if row[0] == "gap"]
    phases = [row for row in rows if row[0] == "phase"]
    [gap_ms] = [row[4] for row in rows if row[0] == "rhythm"]
    return Stretches(
        gap_seconds=gap_ms / 1000,
        gaps=[Gap(row[2], row[3], row[1]) for row in gaps],
        phases=[Phase(*row[1:5]) for row in phases],
        gaps_omitted=_omitted(gaps),
        phases_omitted=_omitted(phases),
    )


@cache  # as text: psycopg renders a Composed again for each execution
def _statement(minutes: str, *, is_stale: bool) -> LiteralString:
    def filled(name: str, fragments: Mapping[str, SQL | Composed]) -> Composed:
        columns = {name: SQL(QUERIES[name]) for name in ("minute_columns", "at_ms")}
        return SQL(QUERIES[name]).format(**columns, **fragments)

    fresh = {"fresh_minutes": filled("fresh_minutes", {})}
    parts = {
        name: filled(name, fresh) if is_stale else SQL("")
        for name in ("stale_minutes", "stale_hours", "minutes_of_stale_hours")
    }
    if not is_stale:
        parts["minutes_of_stale_hours"] = filled("no_minutes", {})
    parts["rhythm"] = SQL(QUERIES["rhythm"])
    return SQL(QUERIES["read_stretches"]).format(minutes=filled(minutes, parts)).as_string()


def _omitted(rows: list[tuple[Any, ...]]) -> int:
    """How many were found but are not in `rows`."""
    return rows[0][5] - len(rows) if rows else 0
