"""Refreshing rollups, and compressing and dropping chunks of series (a hypertable or a rollup).

A refresh and a compression may not run in a transaction and take as long as they take: `conn` is an
`own_connection`, not one of the pool, whose statements are limited.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql
from psycopg.errors import InvalidParameterValue, LockNotAvailable
from psycopg.rows import class_row

from app.database.pool import Connection, Database
from app.domain.rollups import (
    HOUR,
    RAW_SERIES,
    REFRESH_STEP,
    ROLLUPS,
    Rollup,
    rollups_of,
    whole_buckets,
)
from app.domain.window import EPOCH, Window
from app.errors import HubError
from app.store.sql import load_queries

SQL = load_queries("rollups")

Query = sql.SQL | sql.Composed | LiteralString

# A reader, such as an analyst in an open transaction, keeps a chunk from being dropped, and from
# being emptied once it is compressed; later readers wait behind that.
LOCK_WAIT_MS = 2_000

# The embedded engine is one session: advisory locks have no effect in it.
_only_one = threading.RLock()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk, its range, and whether all or a part of its rows are compressed."""

    schema: str
    name: str
    start: datetime
    end: datetime
    is_compressed: bool
    is_partial: bool

    @property
    def window(self) -> Window:
        return Window(self.start, self.end)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@contextmanager
def own_connection(database: Database) -> Iterator[Connection]:
    """A connection for all this, in autocommit; closed at the end. Raises DatabaseUnavailable."""
    with database.connect(autocommit=True) as conn:
        if not database.is_embedded:  # there the bridge does it, for all that the owner does
            conn.execute(SQL["plan_for_refreshes"])
        yield conn


def read_clock(conn: Connection, now: datetime | None = None) -> datetime:
    """The database's clock; `now` is for tests."""
    row = conn.execute(SQL["read_clock"], {"now": now}).fetchone()
    assert row is not None
    clock: datetime = row[0]
    return clock


@contextmanager
def alone(conn: Connection) -> Iterator[None]:
    """Exclude other processes from refreshing, compressing or dropping; waits for them.

    May be nested. Ends with the connection at the latest. For tables, which others read and write,
    nothing in it waits longer than LOCK_WAIT_MS. Raises HubError when that was not enough.
    """
    with _only_one:
        conn.execute(SQL["lock"])
        try:
            before = _value(conn, SQL["read_lock_wait"], {})
            conn.execute(SQL["limit_lock_waits"], {"wait": str(LOCK_WAIT_MS)})
            try:
                yield
            except LockNotAvailable as exc:
                raise HubError("An open transaction is reading it; try again.") from exc
            finally:
                if not conn.closed:
                    conn.execute(SQL["limit_lock_waits"], {"wait": before})
        finally:
            if not conn.closed:
                conn.execute(SQL["unlock"])


def read_edges(conn: Connection) -> dict[str, datetime]:
    """Where each series begins of which something was dropped."""
    return {series: edge for series, edge in conn.execute(SQL["read_edges"]) if edge is not None}


def read_edged_series(conn: Connection) -> set[str]:
    """Every series that has an edge, also those of which nothing was dropped."""
    return {series for series, _ in conn.execute(SQL["read_edges"])}


def read_chunks(conn: Connection, series: str) -> list[Chunk]:
    """Every chunk of a series, ascending by range."""
    with conn.cursor(row_factory=class_row(Chunk)) as cursor:
        return cursor.execute(SQL["read_chunks"], {"series": series}).fetchall()


# Refreshing.


def summarise_block_ranges(conn: Connection) -> None:
    """Let a refresh find what came since the last call, on the embedded engine."""
    conn.execute(SQL["summarise_block_ranges"])


def read_stale_windows(conn: Connection, rollup: Rollup, window: Window) -> list[Window]:
    """What of a window the rollup does not have as its source has it, ascending.

    In whole UTC hours, up to REFRESH_STEP together. Only where the source has chunks.
    """
    params = {
        "rollup": rollup.name,
        "start": window.from_at,
        "end": window.before_at,
        "most_hours": REFRESH_STEP // HOUR,
    }
    return [Window(*row) for row in conn.execute(SQL["read_stale_windows"], params)]


def refresh(conn: Connection, rollup: Rollup, window: Window, *, force: bool = False) -> None:
    """Refresh what is stale in a window (with `force` all of it), never behind the source's edge.

    Chunks of the rollup that are compressed there are unpacked; `jobs.compress_chunks` packs them
    again.

    Raises psycopg.errors.InvalidParameterValue where no bucket is left of the window.
    """
    params = {
        "rollup": rollup.name,
        "source": rollup.source,
        "start": window.from_at,
        "end": window.before_at,
        "force": force,
    }
    conn.execute(SQL["decompress_chunks"], params)
    conn.execute(SQL["refresh"], params)


def refresh_stale(conn: Connection, rollup: Rollup, start: datetime, end: datetime) -> int:
    """Refresh what is stale of a range's whole buckets; in how many steps. Killed, it can go on.

    Hours that are apart are refreshed apart, because a rollup of this one is told of one range per
    transaction: an update of two days ago together with those of now would have it make two days
    again. Few at a time, because the embedded engine runs nothing else then. Ascending, because
    what lies before the last refreshed bucket is read from the rollup only. Raises HubError as
    `refreshable_window` does.
    """
    window = refreshable_window(conn, rollup, start, end)
    if window.is_empty:
        return 0
    stale = read_stale_windows(conn, rollup, window)
    if not stale and _is_empty(conn, rollup, window):
        # Or it would have to be done once the first updates are there: the hours of their first
        # chunk, up to theirs, and each step of that reads all that has come by then.
        stale = [window]
    for part in stale:
        try:
            refresh(conn, rollup, part)
        except InvalidParameterValue:
            # Another process of the embedded engine may have dropped it meanwhile.
            if not refreshable_window(conn, rollup, part.from_at, part.before_at).is_empty:
                raise
    return len(stale)


def _is_empty(conn: Connection, rollup: Rollup, window: Window) -> bool:
    """Whether neither it nor its source has a chunk, and the raw series no row up to the end."""
    if read_chunks(conn, rollup.name) or read_chunks(conn, rollup.source):
        return False
    (series,) = (series for series in RAW_SERIES if rollup in rollups_of(series))
    return not has_rows_before(conn, series, window.before_at)


def note_refresh(conn: Connection, rollup: Rollup, began_at: datetime) -> None:
    """Note that the rollup has all that was committed before `began_at`."""
    conn.execute(SQL["note_refresh"], {"rollup": rollup.name, "began_at": began_at})


def refreshable_window(conn: Connection, rollup: Rollup, start: datetime, end: datetime) -> Window:
    """The whole buckets of a range that may be refreshed: those after the edge of the source.

    Raises HubError when a refresh was left unfinished that reaches behind the edge: TimescaleDB
    finishes it, whole, with the next one that touches it.
    """
    edge = read_edges(conn).get(rollup.source)
    if edge is not None and has_unfinished_refresh(conn, rollup, edge):
        raise HubError(
            f"A refresh of {rollup.name} that reaches behind {edge} was left unfinished: see "
            "`python -m app doctor`."
        )
    return whole_buckets(rollup, start, end, edge)


def has_unfinished_refresh(conn: Connection, rollup: Rollup, before: datetime) -> bool:
    """Whether a refresh that begins before an instant was killed and not yet taken up again."""
    params = {"rollup": rollup.name, "before": before}
    return bool(_value(conn, SQL["has_unfinished_refresh"], params))


def read_gap(conn: Connection, rollup: Rollup, series: str, window: Window) -> str | None:
    """Why a rollup cannot stand in for a part of a series, as a clause; None when it has it all.

    `series` is what the rollup is made from, directly or by way of another one. Its rows are
    counted, and what the rollup has counted is added up.
    """
    if has_unfinished_refresh(conn, rollup, window.before_at):
        return f"a refresh of {rollup.name} was not finished"
    rows = _count_rows(conn, series, window)
    if rows == 0:
        return None  # also where an operator has deleted what lay behind the edge
    if read_stale_windows(conn, rollup, window):
        return f"{rollup.name} is not up to date there"
    counted = _count_materialised(conn, rollup, window)
    return None if rows == counted else f"{rollup.name} has counted {counted} of its {rows} rows"


def has_rows_before(conn: Connection, series: str, before: datetime) -> bool:
    """Whether a series has rows from before an instant: counted in its own table, not in a view."""
    return _count_rows(conn, series, Window(EPOCH, before)) > 0


def _count_rows(conn: Connection, series: str, window: Window) -> int:
    for rollup in ROLLUPS:
        if rollup.name == series:
            return _count_materialised(conn, rollup, window)
    query = sql.SQL(SQL["count_rows"]).format(series=sql.Identifier(series))
    return int(_value(conn, query, {"start": window.from_at, "end": window.before_at}))


def _count_materialised(conn: Connection, rollup: Rollup, window: Window) -> int:
    row = conn.execute(SQL["read_materialization"], {"rollup": rollup.name}).fetchone()
    assert row is not None
    schema, table, watermark = row
    query = sql.SQL(SQL["count_materialised"]).format(
        table=sql.Identifier(schema, table), rows=sql.Identifier(rollup.count_column)
    )
    params = {"start": window.from_at, "end": min(window.before_at, watermark)}
    return int(_value(conn, query, params))


def _value(conn: Connection, query: Query, params: dict[str, Any]) -> Any:
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return row[0]


# Compressing and dropping.


def compress_chunk(conn: Connection, chunk: Chunk) -> bool:
    """Compress a chunk, or those rows of it that are not yet; False: it is gone. Idempotent.

    Rows for a chunk that is compressed for the first time wait until that is done.
    """
    params = {"chunk": chunk.identifier.as_string(conn)}
    return conn.execute(SQL["compress_chunk"], params).fetchone() is not None


def lock_chunk(conn: Connection, chunk: Chunk) -> None:
    """Lock a chunk against writes, but not reads, until the end of the transaction."""
    conn.execute(sql.SQL(SQL["lock_chunk"]).format(chunk=chunk.identifier))


def drop_chunk(conn: Connection, series: str, chunk: Chunk) -> None:
    """Drop a chunk and move the edge of its series past it: in one transaction, the caller's.

    Raises HubError for a chunk that TimescaleDB keeps because it is frozen.
    """
    params = {"series": series, "start": chunk.start, "end": chunk.end}
    if conn.execute(SQL["drop_chunk"], params).fetchone() is None:
        raise HubError(f"TimescaleDB did not drop {chunk.name}: it may be frozen.")
    conn.execute(SQL["advance_edge"], {"series": series, "edge": chunk.end})
