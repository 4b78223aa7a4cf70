"""What leaves the file because it is full or too old, and how the hub gets to know of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from telemetry_client.queue.leases import LEASED
from telemetry_client.queue.payload import decode, encode, loss_field, losses_of
from telemetry_client.queue.statistics import increment, size

# The next entry of the stream that may still be changed: it was never handed out.
_NEXT_ENTRY = """
SELECT id, payload FROM telemetry_queue
WHERE stream = :stream AND id > :id AND handed_out = 0 AND tries = 0
ORDER BY id LIMIT 1
"""


def make_room(conn: sqlite3.Connection, marks: Mapping[str, Any], max_size: int) -> None:
    """Evict what is beyond `max_size`, the least important and oldest first."""
    excess = size(conn) - max_size
    if excess <= 0:
        return
    rows = conn.execute(
        f"SELECT id FROM telemetry_queue WHERE NOT ({LEASED}) ORDER BY rank, id LIMIT :limit",
        {**marks, "limit": excess + 1},
    ).fetchall()
    # If all others are leased, and so about to leave, one may stay beside them for a moment.
    evicted = rows[:excess] if len(rows) > excess else rows[:-1]
    _evict(conn, [row[0] for row in evicted], "evicted_by_count")


def evict_old(conn: sqlite3.Connection, marks: Mapping[str, Any], since: float) -> None:
    """Evict what was queued before `since` (epoch). Reads all rows: not for each `enqueue`."""
    rows = conn.execute(
        f"SELECT id FROM telemetry_queue WHERE queued_at < :since AND NOT ({LEASED}) ORDER BY id",
        {**marks, "since": since},
    ).fetchall()
    _evict(conn, [row[0] for row in rows], "evicted_by_age")


def take_losses(conn: sqlite3.Connection, stream: str) -> int:
    """The losses of a stream that no entry reports; resets the count."""
    query = "SELECT count FROM telemetry_losses WHERE stream = ?"
    row = conn.execute(query, (stream,)).fetchone()
    conn.execute("DELETE FROM telemetry_losses WHERE stream = ?", (stream,))
    return int(row[0]) if row else 0


def _evict(conn: sqlite3.Connection, ids: list[int], counter: str) -> None:
    for entry_id in ids:
        # One by one: an entry may report the loss of the one before it.
        query = "SELECT stream, payload FROM telemetry_queue WHERE id = ?"
        stream, text = conn.execute(query, (entry_id,)).fetchone()
        conn.execute("DELETE FROM telemetry_queue WHERE id = ?", (entry_id,))
        payload = decode(text)
        if stream is not None:
            _report_loss(conn, entry_id, stream, 1 + losses_of(payload))
    increment(conn, counter, len(ids))


def _report_loss(conn: sqlite3.Connection, entry_id: int, stream: str, lost: int) -> None:
    """Add to what the stream's next entry reports, or keep the count for `take_losses`."""
    row = conn.execute(_NEXT_ENTRY, {"stream": stream, "id": entry_id}).fetchone()
    if row is None:
        conn.execute(
            "INSERT INTO telemetry_losses (stream, count) VALUES (?, ?)"
            " ON CONFLICT (stream) DO UPDATE SET count = count + excluded.count",
            (stream, lost),
        )
        return
    payload = decode(row[1])
    payload[loss_field(payload)] = losses_of(payload) + lost
    conn.execute("UPDATE telemetry_queue SET payload = ? WHERE id = ?", (encode(payload), row[0]))
