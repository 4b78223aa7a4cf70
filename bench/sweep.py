"""How long one sweep of the stale detector takes over many running jobs.

    python bench/sweep.py postgresql://postgres@127.0.0.1:5432/ [--jobs 1000000] [--stale 1000]

Makes a database of its own on that server, `hub_bench_sweep`, and drops it at the end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.config import Config
from app.database.migrate import migrate
from app.database.pool import Database
from app.logs import configure_logging
from jobs.detect_stale_jobs import run_once

NAME = "hub_bench_sweep"
BATCH = 100_000
# Every sweep happens at NOW, so that no job grows silent while this measures.
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FILL_JOBS = """
INSERT INTO jobs (job_id, job_type, status, newest_update_at, last_telemetry_at)
SELECT 'backup-vm' || n || '-1760096737', 'backup', 'running',
       %(now)s, %(now)s - random() * interval '5 seconds'
FROM generate_series(%(first)s::integer, %(last)s::integer) AS n
"""
_FILL_DISKS = """
INSERT INTO job_disks (job_id, disk_index, status)
SELECT job_id, disk_index, 'transferring'
FROM jobs, generate_series(0, 1) AS disk_index
WHERE id <= %(stale)s
"""
_WATCH = """
INSERT INTO ingest_beats VALUES ('bench', %(now)s - interval '1 hour', %(now)s)
"""
_SILENCE_JOBS = """
UPDATE jobs SET status = %(status)s, completed_at = NULL, ended_by = NULL,
    last_telemetry_at = %(now)s - make_interval(secs => %(silent_seconds)s)
WHERE id <= %(stale)s
"""
_REOPEN_DISKS = "UPDATE job_disks SET status = 'transferring' WHERE status = 'failed'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--stale", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    configure_logging("WARNING")  # a line for each stale job is part of the work
    with psycopg.connect(args.server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {NAME}")
    config = Config(database_url=urlunsplit(urlsplit(args.server)._replace(path=f"/{NAME}")))
    database = Database.from_config(config)
    try:
        with database.connect(autocommit=True) as conn:
            migrate(conn)
        database.open()
        measure(database, config, args.jobs, args.stale, args.rounds)
    finally:
        database.close()
        with psycopg.connect(args.server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def measure(database: Database, config: Config, jobs: int, stale: int, rounds: int) -> None:
    """Print the median and the worst of `rounds` sweeps for each case, in milliseconds."""
    fill(database, jobs, stale)
    print(f"{jobs:,} running jobs; median / worst of {rounds} sweeps")
    for name, status, silent_seconds in (
        ("none stale", "running", 0),
        (f"{stale:,} stalled", "running", 61),
        (f"{stale:,} failed, 2 disks each", "stalled", 301),
    ):
        times = []
        for _ in range(rounds):
            silence(database, status, silent_seconds, stale)
            started = time.perf_counter()
            sweep = run_once(database, config, NOW)
            times.append((time.perf_counter() - started) * 1000)
            assert sweep.stalled + sweep.failed == (stale if silent_seconds else 0), sweep
        print(f"  {name:30} {statistics.median(times):7.1f} ms / {max(times):7.1f} ms")


def fill(database: Database, jobs: int, stale: int) -> None:
    """Make the jobs, two disks for each that will go stale, and a beat of a web process."""
    with database.connect(autocommit=True) as conn:
        for first in range(1, jobs + 1, BATCH):
            last = min(first + BATCH - 1, jobs)
            conn.execute(_FILL_JOBS, {"now": NOW, "first": first, "last": last})
        conn.execute(_FILL_DISKS, {"stale": stale})
        conn.execute(_WATCH, {"now": NOW})
        conn.execute("VACUUM ANALYZE jobs, job_disks")


def silence(database: Database, status: str, silent_seconds: int, stale: int) -> None:
    """Give the first jobs a status and a silence."""
    params = {"now": NOW, "status": status, "silent_seconds": silent_seconds, "stale": stale}
    with database.connect(autocommit=True) as conn:
        conn.execute(_SILENCE_JOBS, params)
        conn.execute(_REOPEN_DISKS)


if __name__ == "__main__":
    main()
