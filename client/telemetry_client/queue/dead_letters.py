"""Dead letters: payloads that the hub refused, or failed to store too often."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from telemetry_client.queue.payload import decode
from telemetry_client.queue.protocol import DeadLetter
from telemetry_client.queue.statistics import increment


def bury(
    conn: sqlite3.Connection,
    row: Mapping[str, Any],
    *,
    reason: str,
    tries: int,
    died_at: float,
    max_size: int,
) -> None:
    """Move a row of `telemetry_queue` to the dead letters, of which the newest `max_size` stay."""
    conn.execute(
        "INSERT OR REPLACE INTO telemetry_dead"
        " (id, stream, payload, rank, tries, reason, died_at)"
        " VALUES (:id, :stream, :payload, :rank, :tries, :reason, :died_at)",
        {**row, "tries": tries, "reason": reason, "died_at": died_at},
    )
    conn.execute("DELETE FROM telemetry_queue WHERE id = ?", (row["id"],))
    increment(conn, "dead_total")
    before = conn.total_changes
    conn.execute(
        "DELETE FROM telemetry_dead WHERE id IN"
        " (SELECT id FROM telemetry_dead ORDER BY died_at DESC, id DESC LIMIT -1 OFFSET ?)",
        (max_size,),
    )
    increment(conn, "dead_dropped", conn.total_changes - before)


def newest(conn: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The newest dead letters, the newest first."""
    rows = conn.execute(
        "SELECT id, payload, reason, died_at, tries FROM telemetry_dead"
        " ORDER BY died_at DESC, id DESC LIMIT ?",
        (limit,),
    )
    return [DeadLetter(row[0], decode(row[1]), *row[2:]) for row in rows]


def choose(conn: sqlite3.Connection, wanted: set[int] | None) -> list[int]:
    """The ids of dead letters, ascending: all of them, or those that are `wanted`."""
    ids = [row[0] for row in conn.execute("SELECT id FROM telemetry_dead ORDER BY id")]
    return ids if wanted is None else [dead for dead in ids if dead in wanted]


def put_back(conn: sqlite3.Connection, ids: Iterable[int], queued_at: float) -> None:
    """Move dead letters back to the queue, with all of their tries."""
    ids = list(ids)
    conn.executemany(
        # As handed out: it was sent before, so its payload must not change.
        "INSERT INTO telemetry_queue (id, stream, payload, rank, queued_at, handed_out)"
        " SELECT id, stream, payload, rank, ?, 1 FROM telemetry_dead WHERE id = ?",
        [(queued_at, dead) for dead in ids],
    )
    delete(conn, ids)


def delete(conn: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete dead letters."""
    conn.executemany("DELETE FROM telemetry_dead WHERE id = ?", [(dead,) for dead in ids])
