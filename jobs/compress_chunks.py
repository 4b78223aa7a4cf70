"""Compresses chunks that are old enough, and new rows of compressed chunks."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Database
from app.domain.rollups import RAW_SERIES, ROLLUPS
from app.store import rollups as store
from app.store.rollups import Chunk
from jobs.attempts import Attempts

# A refresh rebuilds a bucket of all jobs. In a compressed chunk it decompresses a batch of every
# job: 23 s for 5,000 jobs instead of 30 ms. So rollups stay uncompressed while late data is likely.
ROLLUP_COMPRESS_AFTER_DAYS = 7


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, int]:
    """Compress the due chunks one by one; return how many, by series."""
    raw_after = timedelta(hours=config.compress_after_hours)
    rollups_after = max(raw_after, timedelta(days=ROLLUP_COMPRESS_AFTER_DAYS))
    ages = {
        **dict.fromkeys(RAW_SERIES, raw_after),
        **{rollup.name: rollups_after for rollup in ROLLUPS},
    }
    compressed = {}
    with store.own_connection(database) as conn:
        attempts = Attempts(conn, "compressed")
        store.fit_batches(conn)
        now = store.read_clock(conn, now)
        for series, age in ages.items():
            chunks = store.read_chunks(conn, series)
            compressed[series] = 0
            for chunk in chunks:
                if not is_due(chunk, now - age):
                    continue
                with attempts.attempt(chunk.name), store.alone(conn):
                    compressed[series] += store.compress_chunk(conn, chunk)
    attempts.raise_failed()
    return compressed


def is_due(chunk: Chunk, ended_before: datetime) -> bool:
    """Whether a chunk is old enough and has rows that are not compressed."""
    return chunk.end <= ended_before and (chunk.is_partial or not chunk.is_compressed)
