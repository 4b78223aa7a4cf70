"""Refreshes the rollups: complete buckets, and late data of any age."""

from __future__ import annotations

import time
from datetime import datetime

from app.config import Config
from app.database.pool import Database
from app.domain.rollups import ROLLUPS, SETTLED_AFTER
from app.domain.window import EPOCH
from app.store import rollups as store
from jobs.attempts import Attempts


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, float]:
    """Refresh the stale parts of every rollup, of any age; return the seconds by rollup."""
    seconds = {}
    with store.own_connection(database) as conn:
        attempts = Attempts(conn, "refreshed")
        now = store.read_clock(conn, now)
        if database.is_embedded:
            with attempts.attempt("block ranges"):
                store.summarise_block_ranges(conn)
        for rollup in ROLLUPS:
            started = time.monotonic()
            with attempts.attempt(rollup.name), store.alone(conn):
                began_at = store.read_clock(conn)
                store.refresh_stale(conn, rollup, EPOCH, now - SETTLED_AFTER)
                store.note_refresh(conn, rollup, began_at)
            seconds[rollup.name] = round(time.monotonic() - started, 3)
    attempts.raise_failed()
    return seconds
