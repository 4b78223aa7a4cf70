"""A fleet of nightly series, judged, written by SQL: for the matrix of machines and nights."""

from __future__ import annotations

import psycopg

from tools.hub_process import HubProcess

SERIES = 1_000
NIGHTS = 60


def seed_nights(hub: HubProcess, series: int = SERIES, nights: int = NIGHTS) -> None:
    """So many series that ran each of the last nights; a third rests at weekends.

    Some runs failed, have a warning, or are missing.
    """
    values = {"series": series, "nights": nights}
    with psycopg.connect(hub.owner_dsn(), prepare_threshold=None) as conn:
        for statement in _STATEMENTS:
            conn.execute(statement, values)


# With a summary and a result, so that no task has 60,000 runs to judge.
_STATEMENTS = (
    """
    INSERT INTO series (
        vm_name, name, job_type, repository_id, backup_type, state, runs, distance_seconds,
        next_expected_at, overdue_at)
    SELECT 'db-' || lpad(i::text, 4, '0'), 'db-' || lpad(i::text, 4, '0'), 'backup',
           'repo-' || i %% 5, 'incremental', 'good', %(nights)s, 86400,
           now() + interval '1 day', now() + interval '2 days'
    FROM generate_series(1, %(series)s) AS i
    """,
    """
    INSERT INTO jobs (
        job_id, job_type, vm_name, repository_id, backup_type, status, current_phase,
        bytes_transferred, total_bytes, progress_percent, created_at, started_at, completed_at,
        ended_by, newest_update_at, last_telemetry_at, last_progress_at, performance_metrics)
    SELECT series.name || '-' || to_char(start, 'YYYY-MM-DD'), 'backup', series.vm_name,
           series.repository_id, 'incremental',
           CASE WHEN n %% 53 = 0 THEN 'failed' WHEN n %% 211 = 0 THEN 'cancelled'
                ELSE 'completed' END,
           'finalizing', moved, moved, 100, start, start, start + length, 'sender',
           start + length, start + length, start + length, '{}'
    FROM series,
         generate_series(1, %(nights)s) AS night,
         LATERAL (SELECT date_trunc('day', now()) - night * interval '1 day'
                         + (20 + series.id %% 9) * interval '1 hour' AS start,
                         interval '1 second' * (600 + series.id * night %% 5000) AS length,
                         (20 + series.id * night %% 60) * 1000000000::bigint AS moved,
                         series.id * 7 + night AS n) AS one
    WHERE series.name LIKE 'db-%%' AND n %% 61 <> 0 AND start + length < now()
      AND (series.id %% 3 <> 0 OR extract(isodow FROM start) < 6)
    """,
    """
    INSERT INTO series_runs (id, series_id, started_at, is_live, result)
    SELECT jobs.id, series.id, started_at, false,
           CASE WHEN status = 'completed'
                THEN CASE WHEN jobs.id %% 37 = 0 THEN 'warning' ELSE 'good' END END
    FROM jobs
    JOIN series ON series.vm_name = jobs.vm_name AND series.job_type = jobs.job_type
    WHERE series.name LIKE 'db-%%'
    """,
    "DELETE FROM changed_runs WHERE id IN (SELECT id FROM series_runs)",
    "ANALYZE jobs",
    "ANALYZE series_runs",
)
