"""Notes which hours a transaction wrote to, so that a refresh need not read those in between."""

from __future__ import annotations

from collections.abc import Iterable

from app.database.pool import Connection
from app.store.arrays import execute
from app.store.sql import load_queries

SQL = load_queries("scattered")

_HOUR = 3_600_000_000  # µs


def note_hours(conn: Connection, series: str, times: Iterable[int]) -> None:
    """Note the hours of the rows (µs) that this transaction has added to a hypertable.

    Call it once for each transaction and hypertable. Does nothing if the hours are consecutive.
    """
    hours = sorted({time // _HOUR for time in times})
    if hours and hours[-1] - hours[0] >= len(hours):
        execute(conn, SQL["note_hours"], {"series": series, "hours": hours})
