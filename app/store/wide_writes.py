"""Notes which hours a transaction wrote to, for the refreshes of rollups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from app.database.pool import Connection
from app.domain.timestamps import SECOND
from app.store.arrays import execute
from app.store.sql import load_queries

SQL = load_queries("wide_writes")

_HOUR = 3_600 * SECOND
# A refresh reads everything of the last minute (app.domain.rollups.SETTLED_AFTER) anyway.
_LATE_AFTER = 30 * SECOND


def note_write(conn: Connection, series: Sequence[str], times: Collection[int], now: int) -> None:
    """Note the hours of the rows (µs) that this transaction has added to some hypertables.

    Call it once for each transaction and hypertable, outside of a savepoint.
    """
    if note := note_of(series, times, now):
        execute(conn, SQL["note_write"], note)


def note_of(series: Sequence[str], times: Iterable[int], now: int) -> dict[str, Any] | None:
    """The parameters of the statement `note_write`; None if there is no need to note anything.

    TimescaleDB records one range for a transaction, so with whole hours between its rows a refresh
    would read those as well. And it may miss the range if the transaction commits while a refresh
    begins (docs/decisions/0028).
    """
    times = sorted(times)
    hours = sorted({time // _HOUR for time in times})
    if not hours or (hours[-1] - hours[0] < len(hours) and times[0] >= now - _LATE_AFTER):
        return None
    return {"series": list(series), "hours": hours}
