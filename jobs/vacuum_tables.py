"""Vacuums the tables whose rows are rewritten, where no server does it by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.config import Config
from app.db import Database

# A refresh finds the updates of a minute by indexes of block ranges, which a server's autovacuum
# keeps up to date.
_SUMMARISE = """
SELECT brin_summarize_new_values(index.oid)
FROM pg_class AS index
JOIN pg_am ON pg_am.oid = index.relam
WHERE index.relkind = 'i' AND pg_am.amname = 'brin'
"""
# The rows of live jobs are rewritten at every commit, and TimescaleDB's notes of what is to be
# refreshed at every refresh. The series are only added to.
TABLES = (
    "jobs",
    "job_disks",
    "sender_losses",
    "nodes",
    "tasks",
    "ingest_beats",
    "ingest_presence",
    "_timescaledb_catalog.continuous_aggs_hypertable_invalidation_log",
    "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log",
    "_timescaledb_catalog.continuous_aggs_materialization_ranges",
    "_timescaledb_catalog.continuous_aggs_invalidation_threshold",
    "_timescaledb_catalog.continuous_aggs_watermark",
)


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, Any]:
    """Vacuum and analyse a table at a time; how many. Idempotent; `now` is not needed.

    For the embedded engine, which has no autovacuum: every commit leaves a dead version of each
    row it rewrote. While a table is vacuumed, everybody else waits.
    """
    for table in TABLES:
        with database.reading() as conn:
            conn.execute(f"VACUUM (ANALYZE) {table}".encode())
    with database.reading() as conn:
        conn.execute(_SUMMARISE)
    return {"tables": len(TABLES)}
