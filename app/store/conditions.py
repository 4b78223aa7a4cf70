"""The state of nodes and of the hub itself; reads only."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.database.pool import Connection
from app.domain.attention.hub import ExpiringToken
from app.domain.attention.nodes import MEMORY_SECONDS, LosingNode, NodeNow
from app.store.sql import load_queries

SQL = load_queries("conditions")


def read_nodes(conn: Connection, disk_percent: float, memory_percent: float) -> list[NodeNow]:
    """The nodes that are offline or above one of the limits."""
    params = {
        "disk_percent": disk_percent,
        "memory_percent": memory_percent,
        "memory_seconds": MEMORY_SECONDS,
    }
    return [NodeNow(*row) for row in conn.execute(SQL["read_nodes"], params)]


def read_losing_nodes(conn: Connection, since: datetime) -> list[LosingNode]:
    """The nodes whose agents have reported lost snapshots after `since`."""
    rows = conn.execute(SQL["read_losing_nodes"], {"since": since})
    return [LosingNode(*row) for row in rows]


def read_presence(conn: Connection) -> datetime | None:
    """When a web process last accepted updates; None: never."""
    row = conn.execute(SQL["read_presence"]).fetchone()
    return None if row is None else row[0]


def read_last_return(conn: Connection, now: datetime) -> datetime | None:
    """When the hub last came back after an absence of more than five minutes; None: not today."""
    row = conn.execute(SQL["read_last_return"], {"now": now}).fetchone()
    return None if row is None else row[0]


def read_engine_restart(conn: Connection) -> datetime | None:
    """When the database was started, if a web process has been up for longer; else None."""
    row = conn.execute(SQL["read_engine_start"]).fetchone()
    if row is None or row[1] is None or row[0] is None or row[0] <= row[1]:
        return None
    started: datetime = row[0]
    return started


def read_ending_tokens(
    conn: Connection, now: datetime, ends_soon: timedelta
) -> list[ExpiringToken]:
    """The tokens that expire soon, or have expired in the last two weeks."""
    params = {"now": now, "ends_soon": ends_soon}
    return [ExpiringToken(*row) for row in conn.execute(SQL["read_ending_tokens"], params)]


def read_failing_destinations(
    conn: Connection, before: datetime
) -> list[tuple[int, str, datetime]]:
    """The destinations that have taken no message since a time before: id, name, since when."""
    return conn.execute(SQL["read_failing_destinations"], {"before": before}).fetchall()


def read_paused_retention(conn: Connection) -> datetime | None:
    """The clock that retention last trusted, while it trusts none; None: it does."""
    row = conn.execute(SQL["read_retention"]).fetchone()
    return None if row is None else row[0]
