"""Writes the runs of locked jobs, and moves updates between them. Instants are microseconds.

Nothing here commits. What is known of the runs is read as their jobs are locked (`ingest`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.clock import from_micros, micros_to_seconds, to_micros
from app.database.pool import Connection
from app.domain.runs import JobRuns, Move, Run
from app.store.arrays import execute
from app.store.sql import load_queries

SQL = load_queries("runs")


def create_runs(conn: Connection, runs: JobRuns, *, is_registered: bool = False) -> set[str]:
    """Create the rows of the runs that were added to a locked job; return their keys."""
    created = runs.created
    latest = runs.written_before(runs.newest)
    execute(
        conn,
        SQL["create_runs"],
        {
            "job_id": [run.key for run in created],
            "before": [runs.written_before(run).key for run in created],
            "begins_at": [run.begins_at for run in created],
            "is_announced": [run.is_announced for run in created],
            "clock_offset_seconds": [micros_to_seconds(run.clock_offset) for run in created],
            "is_registered": [is_registered for _ in created],
        },
    )
    counted = {
        "job_id": [runs.job_id],
        "runs": [len(runs.runs)],
        "newest": [runs.newest.key],
    }
    execute(conn, SQL["count_runs"], counted)
    set_begins(conn, [latest])  # so that its row has another version
    keys = {run.key for run in created}
    created.clear()
    return keys


def set_begins(conn: Connection, runs: Sequence[Run]) -> None:
    """Write when runs begin, and whether their senders announced it."""
    execute(
        conn,
        SQL["set_begins"],
        {
            "job_id": [run.key for run in runs],
            "begins_at": [run.begins_at for run in runs],
            "is_announced": [run.is_announced for run in runs],
        },
    )


def move_updates(conn: Connection, move: Move) -> list[int]:
    """Let updates of one run, and its sender's losses, belong to another from an instant on.

    Return the hours (µs) in which it had some, for `insert_updates`.
    """
    params = {"source": move.source.key, "target": move.target.key, "from_at": move.from_at}
    row = conn.execute(SQL["move_updates"], params).fetchone()
    assert row is not None
    return [to_micros(hour) for hour in row[0]]


def read_ends(conn: Connection, key: str, first: int, last: int) -> list[tuple[int, str]]:
    """The ends that are stored of a run between two instants: time and status, ascending."""
    rows = execute(conn, SQL["read_ends"], _span(key, first, last), prepare=False)
    return [(to_micros(time), status) for time, status in rows]


def read_extent(conn: Connection, key: str, first: int, last: int) -> tuple[int, int] | None:
    """The times of the first and the last update of a run between two instants, if any."""
    row = execute(conn, SQL["read_extent"], _span(key, first, last), prepare=False).fetchone()
    if row is None or row[0] is None:
        return None
    return to_micros(row[0]), to_micros(row[1])


def _span(key: str, first: int, last: int) -> dict[str, Any]:
    return {"job_id": key, "first": from_micros(first), "last": from_micros(last)}
