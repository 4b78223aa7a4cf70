"""What the tasks that find what needs attention cost with many jobs.

    python bench/attention_cost.py postgresql://postgres@127.0.0.1:5432/ [--jobs 1000000]

Makes a database of its own on that server, `hub_bench_attention`, and drops it at the end. A series
has a hundred runs; `--live` jobs are running, of which a hundred are hung, a hundred slow and a
hundred overlap. Prints the median and the worst of some rounds, in milliseconds: a sweep while
nothing changes, which must take at most 50 ms, and the judging of 100 runs that have ended.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from app.config import Config
from app.database.migrate import migrate
from app.database.pool import Database
from app.logs import configure_logging
from jobs import find_attention, judge_runs

NAME = "hub_bench_attention"
NOW = datetime(2026, 1, 1, tzinfo=UTC)  # of every sweep
RUNS = 100  # of a series
TROUBLED = 100
_FILL = """
INSERT INTO series (vm_name, name, job_type, state, runs, usual, pace_step_seconds, pace_low)
SELECT 'vm' || n, 'vm' || n, 'backup', 'good', %(runs)s,
       '{"runs": 20, "has_empty_runs": false,
         "bytes": {"median": 1e9, "low": 5e8, "high": 2e9},
         "seconds": {"median": 3600, "low": 1800, "high": 7200}}',
       180, ARRAY(SELECT step * 50000000 FROM generate_series(1, 20) AS step)
FROM generate_series(1, %(jobs)s::integer / %(runs)s) AS n;
INSERT INTO jobs (job_id, job_type, vm_name, status, bytes_transferred, total_bytes, field_times,
                  started_at, completed_at, ended_by, newest_update_at, last_telemetry_at,
                  last_progress_at, performance_metrics)
SELECT 'job-' || n, 'backup', 'vm' || (n %% (%(jobs)s / %(runs)s) + 1),
       CASE WHEN is_live THEN 'running' ELSE 'completed' END,
       CASE WHEN is_live THEN 260000000 + (n::bigint * 7919 %% 740) * 1000000 ELSE 1000000000 END,
       1000000000,
       array_fill(1::bigint, ARRAY[10]),
       times.started_at, CASE WHEN NOT is_live THEN times.started_at + interval '1 hour' END,
       CASE WHEN NOT is_live THEN 'sender' END,
       CASE WHEN is_live THEN %(now)s::timestamptz ELSE times.started_at + interval '1 hour' END,
       CASE WHEN is_live THEN %(now)s::timestamptz ELSE times.started_at + interval '1 hour' END,
       CASE WHEN is_live THEN %(now)s::timestamptz ELSE times.started_at + interval '1 hour' END,
       CASE WHEN NOT is_live THEN '{"chart_data": [], "phases": []}'::jsonb END
FROM generate_series(1, %(jobs)s::integer) AS n
CROSS JOIN LATERAL (SELECT n > %(jobs)s - %(live)s AS is_live) AS life
CROSS JOIN LATERAL (
    SELECT CASE WHEN is_live THEN %(now)s::timestamptz - interval '30 minutes'
                ELSE %(now)s::timestamptz - n / (%(jobs)s / %(runs)s) * interval '1 day' END
        AS started_at) AS times;
INSERT INTO series_runs (id, series_id, started_at, is_live, result)
SELECT jobs.id, series.id, jobs.started_at, status = 'running',
       CASE WHEN status <> 'completed' THEN NULL WHEN jobs.id %% 50 = 0 THEN 'warning'
            ELSE 'good' END
FROM jobs JOIN series USING (vm_name);
UPDATE series SET last_run = newest.job_id, last_started_at = newest.started_at
FROM (SELECT DISTINCT ON (series_id) series_id, job_id, jobs.started_at
      FROM series_runs JOIN jobs USING (id) ORDER BY series_id, jobs.started_at DESC) AS newest
WHERE newest.series_id = series.id;
DELETE FROM changed_runs;
INSERT INTO ingest_beats VALUES ('bench', %(now)s::timestamptz - interval '1 hour', %(now)s);
UPDATE jobs SET last_progress_at = %(now)s::timestamptz - interval '20 minutes',
    total_bytes = 2000000000
WHERE id > %(jobs)s - %(troubled)s;
UPDATE jobs SET bytes_transferred = 1000
WHERE id BETWEEN %(jobs)s - 2 * %(troubled)s + 1 AND %(jobs)s - %(troubled)s;
UPDATE series_runs SET series_id = (SELECT min(id) FROM series)
WHERE id BETWEEN %(jobs)s - 3 * %(troubled)s + 1 AND %(jobs)s - 2 * %(troubled)s;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    configure_logging("ERROR")
    with psycopg.connect(args.server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {NAME}")
    config = Config(database_url=urlunsplit(urlsplit(args.server)._replace(path=f"/{NAME}")))
    database = Database.from_config(config)
    try:
        with database.connect(autocommit=True) as conn:
            migrate(conn)
        database.open()
        fill(database, args.jobs, args.live)
        measure(database, config, args.rounds)
    finally:
        database.close()
        with psycopg.connect(args.server, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def fill(database: Database, jobs: int, live: int) -> None:
    """Make the series and their runs."""
    values = {"jobs": jobs, "live": live, "runs": RUNS, "now": NOW, "troubled": TROUBLED}
    with database.connect(autocommit=True) as conn:
        for statement in _FILL.strip().split(";\n"):
            conn.execute(statement.rstrip(";").encode(), values)
        conn.execute("VACUUM ANALYZE")
    print(f"{jobs:,} jobs, {live:,} of them live, {jobs // RUNS:,} series")


def measure(database: Database, config: Config, rounds: int) -> None:
    """Print what each task takes."""
    first = find_attention.run_once(database, config, NOW)
    with database.connect() as conn:
        kinds = conn.execute("SELECT kind, count(*) FROM attention GROUP BY kind ORDER BY kind")
        print("  found:", ", ".join(f"{count} {kind}" for kind, count in kinds))
    assert first.opened

    def sweep() -> None:
        found = find_attention.run_once(database, config, NOW)
        assert found == find_attention.Found(0, 0, 0), found

    def judge() -> None:
        with database.connect(autocommit=True) as conn:
            conn.execute(
                "INSERT INTO changed_runs (id) SELECT id FROM jobs WHERE status = 'completed'"
                " ORDER BY id DESC LIMIT 100"
            )
        assert judge_runs.run_once(database, config, NOW).runs == TROUBLED

    report("sweep", rounds, sweep)
    report("judging 100 ended runs", rounds, judge)


def report(name: str, rounds: int, call: Callable[[], None]) -> None:
    """Print the median and the worst time of a call."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    print(f"  {name:30} {statistics.median(times):7.1f} ms / {max(times):7.1f} ms")


if __name__ == "__main__":
    main()
