"""Reads and writes of storing node snapshots. Instants are microseconds; nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.clock import to_micros
from app.db import Connection
from app.domain.snapshots import METRICS, Snapshot
from app.store.arrays import execute
from app.store.sql import load_queries

SQL = load_queries("snapshots")
_MICROS = 1_000_000


def lock_nodes(conn: Connection, node_ids: Iterable[str]) -> tuple[int, dict[str, int | None]]:
    """Lock the nodes' rows, creating missing ones; the database's clock, and each clock offset."""
    ids = {"node_ids": sorted(node_ids)}
    with conn.pipeline():
        clock = conn.execute("SELECT clock_timestamp()")
        execute(conn, SQL["create_missing_nodes"], ids)
        rows = execute(conn, SQL["lock_nodes"], ids)
    now = clock.fetchone()
    assert now is not None
    offsets = {row[0]: None if row[1] is None else round(row[1] * _MICROS) for row in rows}
    return to_micros(now[0]), offsets


def find_snapshots(conn: Connection, instants: Iterable[tuple[str, int]]) -> list[Snapshot]:
    """What is stored at those instants, or was shifted from them."""
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


def update_nodes(conn: Connection, offsets: dict[str, int | None], now: int) -> None:
    """Mark locked nodes (id to clock offset) as seen, showing their newest snapshot."""
    node_ids = list(offsets)
    execute(
        conn,
        SQL["update_nodes"],
        {
            "now": now,
            "node_ids": node_ids,
            "clock_offsets": [None if o is None else o / _MICROS for o in offsets.values()],
        },
    )
    execute(conn, SQL["show_newest_snapshots"], {"node_ids": node_ids})


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
