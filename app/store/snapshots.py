"""Stores node snapshots. Instants are microseconds; nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.clock import micros_to_seconds, seconds_to_micros, to_micros
from app.database.pool import Connection
from app.domain.fields import METRICS
from app.domain.snapshots import Snapshot
from app.store.arrays import execute
from app.store.sql import load_queries
from app.store.wide_writes import note_write

SQL = load_queries("snapshots")


@dataclass(frozen=True, slots=True)
class LockedNodes:
    """Clock of the database, edge of the series, clock offsets by node, and the offline nodes.

    `newest`: the time of the newest snapshot (µs), by node, where there is one.
    """

    now: int
    dropped_before: int
    offsets: dict[str, int | None]
    offline: set[str]
    newest: dict[str, int]


def lock_nodes(conn: Connection, node_ids: Iterable[str]) -> LockedNodes:
    """Lock the nodes' rows, creating missing ones."""
    ids = {"node_ids": sorted(node_ids)}
    with conn.pipeline():
        clock = conn.execute(SQL["read_clock"])
        execute(conn, SQL["create_missing_nodes"], ids)
        rows = execute(conn, SQL["lock_nodes"], ids)
    row = clock.fetchone()
    assert row is not None
    nodes = rows.fetchall()
    return LockedNodes(
        now=to_micros(row[0]),
        dropped_before=to_micros(row[1]),
        offsets={node_id: seconds_to_micros(offset) for node_id, offset, _, _ in nodes},
        offline={node_id for node_id, _, is_offline, _ in nodes if is_offline},
        newest={node_id: to_micros(at) for node_id, _, _, at in nodes if at is not None},
    )


def return_snapshots_from_future(conn: Connection, node_id: str, latest: int) -> None:
    """Store a locked node's snapshots from after `latest` (µs) at the times that it named."""
    execute(conn, SQL["return_snapshots_from_future"], {"node_id": node_id, "latest": latest})


def find_snapshots(conn: Connection, instants: Iterable[tuple[str, int]]) -> list[Snapshot]:
    """The snapshots that are stored at those instants, or were shifted from them."""
    wanted = list(instants)
    rows = execute(
        conn,
        SQL["find_snapshots"],
        {"node_ids": [node for node, _ in wanted], "times": [time for _, time in wanted]},
    )
    return [_snapshot(row) for row in rows]


def insert_snapshots(conn: Connection, snapshots: Sequence[Snapshot], now: int) -> None:
    """Add snapshots to the series. They must be new (time, seq)."""
    execute(
        conn,
        SQL["insert_snapshots"],
        {
            **{name: [s.metrics.get(name) for s in snapshots] for name in METRICS},
            "now": now,
            "time": [s.time for s in snapshots],
            "node_id": [s.node_id for s in snapshots],
            "seq": [s.seq for s in snapshots],
            "sender_time": [s.sender_time for s in snapshots],
        },
    )
    note_write(conn, ["node_telemetry"], [s.time for s in snapshots], now)


def update_nodes(
    conn: Connection, oldest: Mapping[str, int], offsets: Mapping[str, int | None], now: int
) -> None:
    """Mark locked nodes as seen, and show their newest snapshot.

    `oldest`: the time of the earliest new snapshot by node.
    """
    node_ids = list(oldest)
    clock_offsets = [offsets[node_id] for node_id in node_ids]
    execute(
        conn,
        SQL["update_nodes"],
        {
            "now": now,
            "node_ids": node_ids,
            "oldest": list(oldest.values()),
            "clock_offsets": [micros_to_seconds(offset) for offset in clock_offsets],
        },
    )
    execute(conn, SQL["show_newest_snapshots"], {"node_ids": node_ids})


def count_lost(conn: Connection, lost: Mapping[str, int], now: int) -> None:
    """Count snapshots that locked nodes have lost, by node."""
    params = {"now": now, "node_ids": list(lost), "lost": list(lost.values())}
    execute(conn, SQL["count_lost"], params)


def _snapshot(row: Sequence[Any]) -> Snapshot:
    time = to_micros(row[1])
    sender_time = None if row[3] is None else to_micros(row[3])
    metrics = zip(METRICS, row[4:], strict=True)
    return Snapshot(
        node_id=row[0],
        timestamp=time if sender_time is None else sender_time,
        metrics={name: value for name, value in metrics if value is not None},
        time=time,
        seq=row[2],
        sender_time=sender_time,
    )
