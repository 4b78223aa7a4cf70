"""Counts of the file: what it holds now, and totals since it was created."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from telemetry_client.queue.leases import HELD, LEASED

COUNTERS = (
    "sent_total",
    "failed_total",
    "dead_total",
    "dead_dropped",
    "evicted_by_count",
    "evicted_by_age",
)


def increment(conn: sqlite3.Connection, name: str, count: int = 1) -> None:
    """Add to one of COUNTERS."""
    if count:
        conn.execute(
            "INSERT INTO telemetry_counters (name, count) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
            (name, count),
        )


def size(conn: sqlite3.Connection) -> int:
    """How many entries are still to be sent."""
    return int(conn.execute("SELECT count(*) FROM telemetry_queue").fetchone()[0])


def read_statistics(
    conn: sqlite3.Connection, marks: Mapping[str, Any], now: float
) -> dict[str, Any]:
    """All counts. `marks`: the parameters of LEASED; `now`: seconds since the epoch."""
    total, leased, held, oldest = conn.execute(
        f"SELECT count(*), coalesce(sum({LEASED}), 0), coalesce(sum({HELD}), 0),"
        " min(queued_at) FROM telemetry_queue",
        marks,
    ).fetchone()
    (dead,) = conn.execute("SELECT count(*) FROM telemetry_dead").fetchone()
    (lost,) = conn.execute("SELECT coalesce(sum(count), 0) FROM telemetry_losses").fetchone()
    counters = dict(conn.execute("SELECT name, count FROM telemetry_counters"))
    # Ids are never reused, so the last one given tells the number of entries so far.
    last = conn.execute("SELECT seq FROM sqlite_sequence").fetchone()
    enqueued = last[0] - counters.get("ids_before", 0) if last else 0
    return {
        "queue_size": total,
        "pending": total - leased,
        "leased": leased,
        "waiting": held - leased,
        "dead": dead,
        "oldest_age_seconds": None if oldest is None else now - oldest,
        "lost_untold": lost,
        "enqueued_total": enqueued,
        **{name: counters.get(name, 0) for name in COUNTERS},
    }
