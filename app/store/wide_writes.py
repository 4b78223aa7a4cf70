"""Notes which hours a transaction wrote to, so that a refresh need not read those in between."""

from __future__ import annotations

from collections.abc import Iterable

from app.database.pool import Connection
from app.store.arrays import execute
from app.store.sql import load_queries

SQL = load_queries("wide_writes")

_HOUR = 3_600_000_000  # µs


def note_write(conn: Connection, series: str, times: Iterable[int]) -> None:
    """Note the hours of the rows (µs) that this transaction has added to a hypertable.

    Call it once for each transaction and hypertable, outside of a savepoint. Does nothing if the
    hours are consecutive: then the range that TimescaleDB records is as good.
    """
    hours = sorted({time // _HOUR for time in times})
    if hours and hours[-1] - hours[0] >= len(hours):
        execute(conn, SQL["note_write"], {"series": series, "hours": hours})
