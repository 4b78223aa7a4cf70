"""Series in a past of their own, and what rollups have materialised of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from app.database.pool import Connection
from app.store.rollups import read_chunks, read_edges

NOW = datetime(2026, 3, 10, 12, 30, 20, tzinfo=UTC)  # the clock of tasks under test
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def add_updates(
    conn: Connection, times: Iterable[datetime], job_id: str = "j", speed: int | None = 5
) -> None:
    """Store updates of a job, one of its disk with each."""
    params = {"times": list(times), "job_id": job_id, "speed": speed}
    conn.execute(
        """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps)
           SELECT time, 0, %(job_id)s, 'running', %(speed)s
           FROM unnest(%(times)s::timestamptz[]) AS time ON CONFLICT DO NOTHING""",
        params,
    )
    conn.execute(
        """INSERT INTO disk_telemetry (time, job_id, disk_index, transfer_speed_bps)
           SELECT time, %(job_id)s, 0, %(speed)s
           FROM unnest(%(times)s::timestamptz[]) AS time ON CONFLICT DO NOTHING""",
        params,
    )


def add_snapshots(conn: Connection, times: Iterable[datetime], node_id: str = "n") -> None:
    """Store snapshots of a node."""
    conn.execute(
        """INSERT INTO node_telemetry (time, received_at, node_id, cpu_percent)
           SELECT time, time, %s, 5 FROM unnest(%s::timestamptz[]) AS time""",
        [node_id, list(times)],
    )


def keep_alive(conn: Connection, now: datetime) -> None:
    """A hub that runs and receives snapshots until `now`: retention then trusts that clock."""
    conn.execute("DELETE FROM retention_clock")
    if conn.execute("SELECT FROM node_telemetry WHERE time >= %s", [now]).fetchone() is None:
        add_snapshots(conn, [now], node_id="alive")


def every(step: timedelta, start: datetime, end: datetime) -> list[datetime]:
    """Instants from `start` until before `end`."""
    return [start + n * step for n in range(-((start - end) // step))]


def table_of(conn: Connection, rollup: str) -> str:
    """Where a rollup's materialised buckets are."""
    row = conn.execute(
        """SELECT format('%%I.%%I', materialization_hypertable_schema,
                         materialization_hypertable_name)
           FROM timescaledb_information.continuous_aggregates WHERE view_name = %s""",
        [rollup],
    ).fetchone()
    assert row is not None
    return str(row[0])


def materialised(conn: Connection, rollup: str, columns: str = "*") -> list[Any]:
    """The materialised rows of a rollup, ascending."""
    sql = f"SELECT {columns} FROM {table_of(conn, rollup)} ORDER BY bucket, 1"
    return conn.execute(sql.encode()).fetchall()


def versions(conn: Connection, rollup: str) -> dict[datetime, str]:
    """Which transaction has made each bucket: another one when it was made anew."""
    return dict(materialised(conn, rollup, "bucket, xmin::text"))


def starts(conn: Connection, series: str) -> list[datetime]:
    """The starts of a hypertable's or a rollup's chunks, ascending."""
    return [chunk.start for chunk in read_chunks(conn, series)]


def edge_of(conn: Connection, series: str) -> datetime | None:
    """Before when a series was dropped; None while nothing was."""
    return read_edges(conn).get(series)
