"""Vacuums the tables whose rows are rewritten: the embedded engine has no autovacuum."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.config import Config
from app.database.pool import Database
from app.store import vacuum as store

# ANALYZE reads a sample of rows, even if few have changed, and blocks the engine: 0.2 s for a
# million jobs. The engine does not count changes; VACUUM counts rows too.
ANALYSE_SECONDS = 3_600
# The rows of live jobs are rewritten at every commit, and TimescaleDB's logs of stale ranges at
# every refresh. The series only grow.
TABLES = (
    "jobs",
    "job_disks",
    "sender_losses",
    "job_counts",
    "machine_job_counts",
    "job_count_changes",
    "job_ends",
    "nodes",
    "attention_changes",
    "episodes",
    "notifications",
    "destinations",
    "tasks",
    "ingest_beats",
    "ingest_presence",
)


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, Any]:
    """Vacuum the tables one by one, and analyse those that are due; return how many, and which.

    Ignores `now`. Every commit leaves a dead version of each row that it rewrote.
    """
    analysed = []
    every_seconds = config.task_interval(ANALYSE_SECONDS)
    with database.reading() as conn:
        tables = (*TABLES, *store.read_refresh_logs(conn))
    for table in tables:
        with database.reading() as conn:
            is_due = store.should_analyse(conn, table, every_seconds)
            store.vacuum(conn, table)
            if is_due:
                store.analyse(conn, table)
                analysed.append(table)
    return {"tables": len(tables), "analysed": analysed}
