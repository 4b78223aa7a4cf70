"""Drops chunks past their retention, once their rollups are complete."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Connection, Database, LockNotAvailable
from app.domain.retention import retention_now
from app.domain.rollups import MINUTE_ROLLUPS, RAW_SERIES, rollups_of
from app.errors import HubError
from app.store import rollups as store
from app.store.retention import advance_clock, read_newest
from app.store.rollups import Chunk
from jobs.attempts import Attempts

logger = logging.getLogger("hub.tasks.retention")


@dataclass(frozen=True, slots=True)
class Dropped:
    """The expired chunks of a series. `why`: the reason why the first kept chunk was kept."""

    chunks: int
    stayed: int
    why: str | None


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, Dropped]:
    """Drop the expired chunks one by one; return the result by series.

    Raises HubError, and drops nothing, while the clock is a day or more ahead of an earlier run.
    """
    days = {
        **dict.fromkeys(RAW_SERIES, config.raw_retention_days),
        **dict.fromkeys(MINUTE_ROLLUPS, config.rollup_1m_retention_days),
    }
    done = {}
    with store.own_connection(database) as conn:
        attempts = Attempts(conn, "shortened")
        now = _trusted_now(conn, store.read_clock(conn, now))
        for series, retention_days in days.items():
            with attempts.attempt(series):
                done[series] = _drop_expired(conn, series, now - timedelta(days=retention_days))
    attempts.raise_failed()
    return done


def _trusted_now(conn: Connection, now: datetime) -> datetime:
    clock = advance_clock(conn, now)
    if not clock.is_trusted:
        raise HubError(
            f"The clock says {now:%Y-%m-%d %H:%M} UTC, {(now - clock.trusted_at).days} days after "
            f"{clock.trusted_at:%Y-%m-%d %H:%M}, when this task last ran: nothing is dropped for a "
            "day. If the clock is wrong, set it."
        )
    return retention_now(now, read_newest(conn))


def _drop_expired(conn: Connection, series: str, expired_before: datetime) -> Dropped:
    """Drop in order of time and skip no chunk, because nothing before the edge is refreshed."""
    edge = store.read_edges(conn).get(series)
    expired = [chunk for chunk in store.read_chunks(conn, series) if chunk.end <= expired_before]
    dropped, stayed, why = 0, 0, None
    for chunk in expired:
        reason = _drop(conn, series, chunk)
        if reason is None:
            dropped += 1
            continue
        logger.error("the expired chunk %s of %s is kept: %s", chunk.name, series, reason)
        why = why or reason
        if edge is None or chunk.end > edge:
            stayed = len(expired) - dropped
            break
        stayed += 1
    return Dropped(dropped, stayed, why)


def _drop(conn: Connection, series: str, chunk: Chunk) -> str | None:
    """Drop a chunk; return None, or the reason why it is kept."""
    rollups = rollups_of(series)
    with store.alone(conn):
        try:
            for rollup in rollups:
                store.refresh_stale(conn, rollup, chunk.start, chunk.end)
            with conn.transaction():
                # No row may be added between the count and the commit.
                store.lock_chunk(conn, chunk)
                gaps = (store.read_gap(conn, rollup, series, chunk.window) for rollup in rollups)
                if gap := next(filter(None, gaps), None):
                    return gap
                store.drop_chunk(conn, series, chunk)
        except LockNotAvailable:
            return "it is being read"
    return None
