"""Reads nodes and their snapshots. Writes nothing; each function runs one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Identifier

from app.db import Connection
from app.domain.chart import SECOND, Window
from app.domain.snapshots import METRICS
from app.store.sql import load_queries

QUERIES = load_queries("nodes")


@dataclass(frozen=True)
class Node:
    """One row of `nodes` by its columns, with what the database's clock says about it.

    `age_seconds` is the time since the last snapshot arrived. Units of the metrics as in
    `app.schemas.nodes`.
    """

    node_id: str
    first_seen_at: datetime
    last_seen_at: datetime
    newest_snapshot_at: datetime
    clock_offset_seconds: float | None
    cpu_percent: float | None
    memory_percent: float | None
    memory_used_mb: float | None
    memory_total_mb: float | None
    disk_percent: float | None
    disk_used_gb: float | None
    disk_total_gb: float | None
    network_rx_bytes: int | None
    network_tx_bytes: int | None
    network_rx_rate_mbps: float | None
    network_tx_rate_mbps: float | None
    uptime_seconds: int | None
    process_count: int | None
    active_connections: int | None
    load_avg_1m: float | None
    load_avg_5m: float | None
    load_avg_15m: float | None
    age_seconds: float
    is_offline: bool


@dataclass(frozen=True)
class Step:
    """The snapshots of one step: how many, and (mean, min, max) of each metric, None if none."""

    bucket_at: datetime
    snapshots: int
    values: list[tuple[float | None, float | None, float | None]]


def list_nodes(
    conn: Connection, limit: int, offline_after_seconds: int, after_id: str = ""
) -> list[Node]:
    """At most `limit` nodes ascending by id, above `after_id`."""
    cursor = conn.cursor(row_factory=class_row(Node))
    values = {
        "limit": limit,
        "offline_after_seconds": offline_after_seconds,
        "after_id": after_id,
    }
    return cursor.execute(QUERIES["list_nodes"], values).fetchall()


def read_node(conn: Connection, node_id: str, offline_after_seconds: int) -> Node | None:
    """One node."""
    cursor = conn.cursor(row_factory=class_row(Node))
    values = {"node_id": node_id, "offline_after_seconds": offline_after_seconds}
    return cursor.execute(QUERIES["read_node"], values).fetchone()


def find_span(conn: Connection, node_id: str) -> Window | None:
    """All of a node's snapshots: from the oldest kept to the whole second after the newest.

    None for an unknown node.
    """
    row = conn.execute(QUERIES["find_span"], {"node_id": node_id}).fetchone()
    if row is None:
        return None
    oldest, newest = row
    before_at = newest.replace(microsecond=0) + SECOND
    return Window(before_at if oldest is None else oldest, before_at)


def list_snapshots(
    conn: Connection, node_id: str, window: Window, metrics: Sequence[str], limit: int
) -> list[tuple[Any, ...]]:
    """At most `limit` rows (time, value of each metric or None), ascending.

    Raises ValueError for a metric that is not in METRICS.
    """
    query = SQL(QUERIES["list_snapshots"]).format(metrics=_each("{0}", metrics))
    return conn.execute(query, {**_bounds(node_id, window), "limit": limit}).fetchall()


def summarise_snapshots(
    conn: Connection, node_id: str, window: Window, metrics: Sequence[str], step_seconds: int
) -> list[Step]:
    """The steps that have snapshots, ascending; whole multiples of `step_seconds` since 1970.

    Raises ValueError for a metric that is not in METRICS.
    """
    # avg() of a bigint is numeric, which would arrive as a Decimal.
    aggregates = _each("avg({0})::double precision, min({0}), max({0})", metrics)
    query = SQL(QUERIES["summarise_snapshots"]).format(aggregates=aggregates)
    rows = conn.execute(query, {**_bounds(node_id, window), "step_seconds": step_seconds})
    return [
        Step(row[0], row[1], list(zip(row[2::3], row[3::3], row[4::3], strict=True)))
        for row in rows
    ]


def _bounds(node_id: str, window: Window) -> dict[str, Any]:
    return {"node_id": node_id, "from_at": window.from_at, "before_at": window.before_at}


def _each(template: str, metrics: Sequence[str]) -> Composed:
    """The template for each metric, its name quoted; only ever the names that are columns."""
    unknown = set(metrics) - set(METRICS)
    if unknown or not metrics:
        raise ValueError(f"no such metrics: {sorted(unknown)}")
    return SQL(", ").join(SQL(template).format(Identifier(name)) for name in metrics)
