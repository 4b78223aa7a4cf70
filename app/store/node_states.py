"""Marks nodes offline and online, each change with its event; the caller commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.rows import class_row

from app.database.pool import Connection
from app.domain.staleness import FUTURE_SECONDS
from app.store.sql import load_queries
from app.store.staleness import StatusChange

SQL = load_queries("node_states")

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SilentNode:
    """A node that may be offline; also the key of the next page."""

    node_id: str
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class OfflineNode:
    """A node that was marked offline, and how long it had been silent."""

    node_id: str
    silent_seconds: float


def read_silent_nodes(
    conn: Connection, silent_since: datetime, *, after: SilentNode | None, limit: int
) -> list[SilentNode]:
    """Online nodes without a snapshot after `silent_since`, longest silent first; no lock."""
    params = {
        "silent_since": silent_since,
        "after_at": _BEGINNING if after is None else after.last_seen_at,
        "after_id": "" if after is None else after.node_id,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(SilentNode)) as cursor:
        return cursor.execute(SQL["read_silent_nodes"], params).fetchall()


def reset_future_nodes(conn: Connection, now: datetime) -> int:
    """Set `last_seen_at` of online nodes to `now` if it is in the future; return how many."""
    params = {"now": now, "future_seconds": FUTURE_SECONDS}
    return conn.execute(SQL["reset_future_nodes"], params).rowcount


def mark_nodes_offline(
    conn: Connection, node_ids: Sequence[str], status_change: StatusChange
) -> list[OfflineNode]:
    """Mark the nodes offline that are online and still silent; ascending by id."""
    params = {
        "node_ids": list(node_ids),
        "now": status_change.now,
        "silent_since": status_change.silent_since,
        "threshold_seconds": status_change.threshold_seconds,
        "text": status_change.text,
        "clock": status_change.clock,
    }
    rows = conn.execute(SQL["mark_nodes_offline"], params)
    return [OfflineNode(node_id, silent_seconds) for node_id, silent_seconds in rows]


def mark_nodes_online(conn: Connection, node_ids: Sequence[str], now: int) -> None:
    """Mark those of the locked nodes online that are offline. `now` is in microseconds."""
    conn.execute(SQL["mark_nodes_online"], {"node_ids": list(node_ids), "now": now})
