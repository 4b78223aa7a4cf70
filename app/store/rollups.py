"""Refreshes rollups, and compresses and drops chunks of series (a hypertable or a rollup).

A refresh or compression may take long and cannot run in a transaction: `conn` is an
`own_connection`, not one of the pool, whose statements have a time limit.
"""

from __future__ import annotations

import secrets
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

# A reader, such as an analyst in an open transaction, blocks the drop of a chunk and the end of its
# compression; later readers wait behind that.
LOCK_WAIT_MS = 2_000

# The embedded engine is one session: advisory locks have no effect in it.
_only_one = threading.RLock()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk, its range, and whether all or some of its rows are compressed."""

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
    """A connection of its own, in autocommit; closed at the end. Raises DatabaseUnavailable."""
    with database.connect(autocommit=True) as conn:
        if not database.is_embedded:  # there the bridge sets it for every connection of the owner
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

    May be nested. Ends with the connection at the latest. Statements in it wait for a table's lock
    for at most LOCK_WAIT_MS; raises HubError after that.
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
    """The edges, by series, before which rows were dropped."""
    return {series: edge for series, edge in conn.execute(SQL["read_edges"]) if edge is not None}


def read_edged_series(conn: Connection) -> set[str]:
    """Every series with a row in series_edges, even if nothing was dropped."""
    return {series for series, _ in conn.execute(SQL["read_edges"])}


def read_chunks(conn: Connection, series: str) -> list[Chunk]:
    """Every chunk of a series, ascending by range."""
    with conn.cursor(row_factory=class_row(Chunk)) as cursor:
        return cursor.execute(SQL["read_chunks"], {"series": series}).fetchall()


# Refreshing.


def summarise_block_ranges(conn: Connection) -> None:
    """Add new blocks to the BRIN indexes, so that a refresh on the embedded engine is fast."""
    conn.execute(SQL["summarise_block_ranges"])


def read_stale_windows(conn: Connection, rollup: Rollup, window: Window) -> list[Window]:
    """The parts of a window in which the rollup may differ from its source, ascending.

    In whole UTC hours, at most REFRESH_STEP each. Only where the source has chunks.
    """
    params = {
        "rollup": rollup.name,
        "start": window.from_at,
        "end": window.before_at,
        "most_hours": REFRESH_STEP // HOUR,
    }
    return [Window(*row) for row in conn.execute(SQL["read_stale_windows"], params)]


def refresh(conn: Connection, rollup: Rollup, window: Window, *, force: bool = False) -> None:
    """Refresh the stale part of a window (with `force` all of it), never before the source's edge.

    Decompresses the rollup's chunks in the window; `jobs.compress_chunks` compresses them again.
    Raises psycopg.errors.InvalidParameterValue if no bucket of the window is left.
    """
    params = {
        "rollup": rollup.name,
        "source": rollup.source,
        "start": window.from_at,
        "end": window.before_at,
        "force": force,
        "claim": secrets.randbits(62),
    }
    conn.execute(SQL["decompress_chunks"], params)
    with _one_snapshot(conn):
        conn.execute(SQL["refresh"], params)
    conn.execute(SQL["forget_stale_hours"], params)


@contextmanager
def _one_snapshot(conn: Connection) -> Iterator[None]:
    """Let all that a statement calls see the same commits (see record_stale_hours)."""
    conn.execute(SQL["begin_one_snapshot"])
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(SQL["end_one_snapshot"])


def refresh_stale(conn: Connection, rollup: Rollup, start: datetime, end: datetime) -> int:
    """Refresh the stale whole buckets of a range; return the number of steps. Can be repeated.

    Separate hours are refreshed separately, because one transaction invalidates one range of the
    next rollup: with an old and a new update that would be everything in between. In small steps,
    because a refresh blocks the embedded engine. Ascending, because buckets before the last
    refreshed one are read from the rollup only. Raises HubError as `refreshable_window` does.
    """
    window = refreshable_window(conn, rollup, start, end)
    if window.is_empty:
        return 0
    stale = read_stale_windows(conn, rollup, window)
    if not stale and not _is_refreshed(conn, rollup) and _is_empty(conn, rollup, window):
        stale = [window]  # before its first refresh TimescaleDB does not log changes
    for part in stale:
        try:
            refresh(conn, rollup, part)
        except InvalidParameterValue:
            # Another process of the embedded engine may have dropped it meanwhile.
            if not refreshable_window(conn, rollup, part.from_at, part.before_at).is_empty:
                raise
        params = {"rollup": rollup.name, "start": part.from_at, "end": part.before_at}
        conn.execute(SQL["note_refreshed_until"], params)
    return len(stale)


def _is_refreshed(conn: Connection, rollup: Rollup) -> bool:
    """Whether the rollup has ever been refreshed."""
    row = conn.execute(SQL["is_refreshed"], {"rollup": rollup.name}).fetchone()
    return row is not None and bool(row[0])


def _is_empty(conn: Connection, rollup: Rollup, window: Window) -> bool:
    """Whether rollup and source have no chunk, and the raw series no row before the end."""
    if read_chunks(conn, rollup.name) or read_chunks(conn, rollup.source):
        return False
    (series,) = (series for series in RAW_SERIES if rollup in rollups_of(series))
    return not has_rows_before(conn, series, window.before_at)


def note_refresh(conn: Connection, rollup: Rollup, began_at: datetime) -> None:
    """Record that the rollup has everything that was committed before `began_at`."""
    conn.execute(SQL["note_refresh"], {"rollup": rollup.name, "began_at": began_at})


def refreshable_window(conn: Connection, rollup: Rollup, start: datetime, end: datetime) -> Window:
    """The whole buckets of a range that may be refreshed: those after the edge of the source.

    Raises HubError if an unfinished refresh reaches behind the edge: TimescaleDB would finish all
    of it with the next refresh that touches it.
    """
    edge = read_edges(conn).get(rollup.source)
    if edge is not None and has_unfinished_refresh(conn, rollup, edge):
        raise HubError(
            f"A refresh of {rollup.name} that reaches behind {edge} was left unfinished: see "
            "`python -m app doctor`."
        )
    return whole_buckets(rollup, start, end, edge)


def has_unfinished_refresh(conn: Connection, rollup: Rollup, before: datetime) -> bool:
    """Whether an unfinished refresh begins before an instant."""
    params = {"rollup": rollup.name, "before": before}
    return bool(_value(conn, SQL["has_unfinished_refresh"], params))


def knows_changes(conn: Connection, rollup: Rollup) -> bool:
    """Whether TimescaleDB's log of changes can be read; if not, everything counts as stale."""
    return bool(_value(conn, SQL["knows_changes"], {"rollup": rollup.name}))


def read_gap(conn: Connection, rollup: Rollup, series: str, window: Window) -> str | None:
    """Why a rollup cannot replace a window of a series, as a clause; None if it is complete.

    `series` is the rollup's source, directly or through another rollup. Its rows are compared with
    the sum of the rollup's counts.
    """
    if has_unfinished_refresh(conn, rollup, window.before_at):
        return f"a refresh of {rollup.name} was not finished"
    rows = _count_rows(conn, series, window)
    if rows == 0:
        return None  # also if an operator has deleted the rows behind the edge
    if knows_changes(conn, rollup) and read_stale_windows(conn, rollup, window):
        return f"{rollup.name} is not up to date there"
    counted = _count_materialised(conn, rollup, window)
    return None if rows == counted else f"{rollup.name} has counted {counted} of its {rows} rows"


def has_rows_before(conn: Connection, series: str, before: datetime) -> bool:
    """Whether a series has rows before an instant, counted in its own table, not in a view."""
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
    query = sql.SQL(SQL["count_materialised"]).format(
        table=sql.Identifier(*row), rows=sql.Identifier(rollup.count_column)
    )
    return int(_value(conn, query, {"start": window.from_at, "end": window.before_at}))


def _value(conn: Connection, query: Query, params: dict[str, Any]) -> Any:
    row = conn.execute(query, params).fetchone()
    assert row is not None
    return row[0]


# Compressing and dropping.


def fit_batches(conn: Connection) -> None:
    """Make this connection compress rows in batches that fit their blocks."""
    conn.execute(SQL["fit_batches"])


def compress_chunk(conn: Connection, chunk: Chunk) -> bool:
    """Compress the uncompressed rows of a chunk; return False if it is gone. Idempotent.

    The first compression of a chunk blocks new rows for it.
    """
    params = {"chunk": chunk.identifier.as_string(conn)}
    return conn.execute(SQL["compress_chunk"], params).fetchone() is not None


def lock_chunk(conn: Connection, chunk: Chunk) -> None:
    """Lock a chunk against writes, but not reads, until the end of the transaction."""
    conn.execute(sql.SQL(SQL["lock_chunk"]).format(chunk=chunk.identifier))


def drop_chunk(conn: Connection, series: str, chunk: Chunk) -> None:
    """Drop a chunk and move the edge of its series past it, in the caller's transaction.

    Raises HubError if TimescaleDB keeps the chunk because it is frozen.
    """
    params = {"series": series, "start": chunk.start, "end": chunk.end}
    if conn.execute(SQL["drop_chunk"], params).fetchone() is None:
        raise HubError(f"TimescaleDB did not drop {chunk.name}: it may be frozen.")
    conn.execute(SQL["advance_edge"], {"series": series, "edge": chunk.end})
    for rollup in ROLLUPS:
        if rollup.source == series:
            conn.execute(SQL["forget_dropped_hours"], {"rollup": rollup.name, "edge": chunk.end})
