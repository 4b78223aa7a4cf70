"""Reads the state of the database for GET /metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.database.pool import Connection
from app.store.jobs import JobFilter, count_jobs_by_status
from app.store.sql import load_queries
from app.store.tasks import TaskRun, read_tasks

SQL = load_queries("metrics")

MOST_TYPES = 100
OTHER_TYPES = "(other)"  # is not a valid job type


class EndCount(NamedTuple):
    """How many runs have ended so. Never decreases."""

    job_type: str
    status: str
    ended_by: str
    ends: int


class ItemCount(NamedTuple):
    """How many items of attention are open."""

    kind: str
    severity: str
    is_acknowledged: bool
    items: int


class SeriesSample(NamedTuple):
    """A series of runs. Times in seconds since 1970; None: not known.

    `state` and what is called last are of the newest ended run; see the table `series`.
    """

    id: int
    name: str
    job_type: str
    repository_id: str
    backup_type: str
    state: str
    last_success_at: float | None
    last_bytes: int | None
    last_seconds: float | None
    next_expected_at: float | None


@dataclass(frozen=True, slots=True)
class HubState:
    """The state of the database, for metrics. `left_out`: series and nodes above the bound."""

    timescaledb: str
    jobs: Mapping[str, int]  # by status
    ends: Sequence[EndCount]
    items: Sequence[ItemCount]
    series: Sequence[SeriesSample]
    nodes: Sequence[tuple[str, bool]]  # id, and whether it is online
    tasks: Sequence[TaskRun]
    left_out: Mapping[str, int]


def read_state(conn: Connection, limit: int) -> HubState:
    """The state now, with at most `limit` series and as many nodes, the newest."""
    bound = {"limit": limit}
    with conn.cursor(binary=True) as cursor:  # half the time, with many rows
        rows = cursor.execute(SQL["list_series"], bound).fetchall()
    nodes = conn.execute(SQL["list_nodes"], bound).fetchall()
    types = {"limit": MOST_TYPES, "other": OTHER_TYPES}
    return HubState(
        timescaledb=_read_value(conn, "read_version"),
        jobs=count_jobs_by_status(conn, JobFilter()),
        ends=[EndCount(*row) for row in conn.execute(SQL["count_ends"], types)],
        items=[ItemCount(*row) for row in conn.execute(SQL["count_items"])],
        series=list(map(SeriesSample._make, rows)),
        nodes=[(node_id, is_online) for node_id, is_online in nodes],
        tasks=read_tasks(conn),
        left_out={
            "series": _count_left_out(conn, "count_series", len(rows), limit),
            "nodes": _count_left_out(conn, "count_nodes", len(nodes), limit),
        },
    )


def _count_left_out(conn: Connection, name: str, listed: int, limit: int) -> int:
    """How many there are beyond the limit. Counts only where it is reached."""
    return 0 if listed < limit else max(0, int(_read_value(conn, name)) - limit)


def _read_value(conn: Connection, name: str) -> Any:
    row = conn.execute(SQL[name]).fetchone()
    assert row is not None
    return row[0]
