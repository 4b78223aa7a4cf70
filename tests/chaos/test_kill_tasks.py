"""Killed in the middle of any task, `python -m jobs` completes its work at the next tick.

Nothing is lost, nothing is counted twice, and edge and chunks agree.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.checks.doctor import run_checks
from app.config import PARENT_VARIABLE, ROOT, Config
from app.database.engine import EmbeddedEngine
from app.database.pool import Connection, Database
from app.errors import DatabaseUnavailable
from app.store.counts import Differences, find_differences
from app.store.rollups import read_chunks
from app.store.tasks import TaskRun, read_tasks
from tests.chaos.scenario import lasting
from tests.chunks import edge_of, table_of
from tools import engine_template
from tools.hub_process import DATABASE, database_settings, kill, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

TASKS = ("refresh_rollups", "compress_chunks", "drop_expired_chunks")
ROW_TASKS = ("detect_stale_jobs", "summarise_finished_jobs", "detect_offline_nodes")
RUNS = 3  # in which a task completes its work
SETTINGS: dict[str, Any] = {
    "late_data_days": 1,
    "raw_retention_days": 2,
    "rollup_1m_retention_days": 30,
    "compress_after_hours": 1,
}
# A day that has expired, and the last one.
FILL = """
WITH updates AS (
    INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps)
    SELECT start + n * interval '5 minutes', 0, 'job-' || job, 'running', n
    FROM (VALUES (date_trunc('day', now()) - interval '4 days'),
                 (now() - interval '24 hours')) AS days (start),
         generate_series(0, 286) AS n, generate_series(1, 5) AS job
    RETURNING time, job_id
)
INSERT INTO disk_telemetry (time, job_id, disk_index) SELECT time, job_id, 0 FROM updates
"""
LATE = """
INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, transfer_speed_bps)
SELECT now() - n * interval '50 minutes', 0, 'late', 'running', 9 FROM generate_series(1, 20) AS n
"""


def test_tasks_killed_in_the_middle(owner: Database, config: Config) -> None:
    with owner.connect(autocommit=True) as conn:
        stored = fill(conn)
        for task_id in TASKS:
            for _ in range(2):
                with jobs(config) as process:
                    begin(conn, task_id)
                    process.kill()
                assert is_unfinished(conn, task_id), "it was too quick for this test"
            if task_id == "refresh_rollups":
                stored += conn.execute(LATE).rowcount
        complete(conn, config)
        assert_whole(conn, config, stored)


# More than the tasks change in one transaction; a summary alone takes 10 ms.
ROWS = 1500
ENDED = int(lasting(ROWS, 100))
FILL_ROWS = f"""
INSERT INTO jobs (job_id, job_type, status, last_telemetry_at)
SELECT 'job-' || n, 'backup', 'running', now() - interval '1 hour'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO jobs (job_id, job_type, status, ended_by, completed_at, last_telemetry_at)
SELECT 'ended-' || n, 'backup', 'completed', 'sender', now(), now() - interval '1 hour'
FROM generate_series(1, {ENDED}) AS n;
INSERT INTO nodes (node_id, last_seen_at, newest_snapshot_at)
SELECT 'node-' || n, now() - interval '1 hour', now() - interval '1 hour'
FROM generate_series(1, {2 * ROWS}) AS n;
INSERT INTO ingest_beats VALUES ('web', now() - interval '2 hours', now());
INSERT INTO rollup_refreshes VALUES ('job_speed_1m', now()), ('job_speed_1h', now())
"""


def test_tasks_on_rows_killed_in_the_middle(owner: Database, config: Config) -> None:
    with owner.connect(autocommit=True) as conn:
        conn.execute(FILL_ROWS.encode())
        for task_id in ROW_TASKS:
            with jobs(config) as process:
                begin(conn, task_id, among=ROW_TASKS)
                process.kill()
            assert is_unfinished(conn, task_id), "it was too quick for this test"
        complete(conn, config, ROW_TASKS)
        assert value(conn, "SELECT count(*) FROM jobs WHERE status = 'running'") == 0
        stalled = "SELECT count(*), count(DISTINCT job_id) FROM job_events WHERE to_status = %s"
        assert conn.execute(stalled, ["stalled"]).fetchone() == (ROWS, ROWS)
        row = conn.execute(stalled, ["failed"]).fetchone()
        assert row is not None
        assert row[0] == row[1]
        unsummarised = (
            "SELECT count(*) FROM jobs WHERE performance_metrics IS NULL AND status = 'completed'"
        )
        for _ in range(4):  # a run gives up after 30 s, and leaves the rest to the next
            if value(conn, unsummarised) == 0:
                break
            complete(conn, config, ["summarise_finished_jobs"])
        assert value(conn, unsummarised) == 0
        offline = "SELECT count(*), count(DISTINCT node_id) FROM node_events"
        assert conn.execute(offline).fetchone() == (2 * ROWS, 2 * ROWS)
        assert find_differences(conn) == Differences(0, 0)


def test_engine_killed_in_the_middle(tmp_path: Path) -> None:
    engine_template.copy_to(tmp_path)
    engine = EmbeddedEngine(tmp_path, port=0)
    engine.start()
    config = Config(data_dir=tmp_path, log_level="WARNING")
    try:
        with connected(config) as conn:
            stored = fill(conn)
        for task_id in TASKS:
            with connected(config) as conn, jobs(config):
                begin(conn, task_id)
                assert engine.pid is not None
                kill(engine.pid)
            engine.restart()
            with connected(config) as conn:
                assert is_unfinished(conn, task_id), "it was too quick for this test"
        with connected(config) as conn:
            complete(conn, config)
            assert_whole(conn, config, stored)
    finally:
        engine.stop()


@contextmanager
def connected(config: Config) -> Iterator[Connection]:
    with Database.of_owner(config).connect(autocommit=True) as conn:
        yield conn


def fill(conn: Connection) -> int:
    return conn.execute(FILL).rowcount


@contextmanager
def jobs(config: Config) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m jobs` with a short retention, killed at the end."""
    ours = {k: v for k, v in os.environ.items() if k not in (PARENT_VARIABLE, *DATABASE)}
    settings = {f"HUB_{name.upper()}": str(value) for name, value in SETTINGS.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs"],
        cwd=ROOT,
        env={
            **ours,
            **settings,
            **database_settings(config),
        },
        stderr=subprocess.DEVNULL,  # it complains when its database is killed
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def begin(conn: Connection, task_id: str, among: Sequence[str] = TASKS) -> None:
    """Let one task be due, and the others not; return when it has run for a moment."""
    beat(conn)
    conn.execute("UPDATE tasks SET lease_holder = NULL, lease_expires_at = NULL")
    conn.execute(
        """INSERT INTO tasks (task_id, interval_seconds, last_started_at)
           SELECT id, 3600, now() FROM unnest(%s::text[]) AS id
           ON CONFLICT (task_id) DO UPDATE SET last_started_at = now()""",
        [[other for other in among if other != task_id]],
    )
    conn.execute("DELETE FROM tasks WHERE task_id = %s", [task_id])
    sql = "SELECT FROM tasks WHERE task_id = %s AND lease_holder IS NOT NULL"
    deadline = time.monotonic() + 30
    while conn.execute(sql, [task_id]).fetchone() is None:  # at once: it takes but a moment
        assert time.monotonic() < deadline
    time.sleep(random.random() / 50)


def beat(conn: Connection) -> None:
    """As a web process does every 5 s: without it no job is judged."""
    conn.execute("UPDATE ingest_beats SET beat_at = now()")


def is_unfinished(conn: Connection, task_id: str) -> bool:
    sql = "SELECT lease_holder IS NOT NULL AND last_finished_at IS NULL FROM tasks"
    return value(conn, f"{sql} WHERE task_id = %s", task_id) is True


def complete(conn: Connection, config: Config, tasks: Sequence[str] = TASKS) -> None:
    """Let tasks run, undisturbed, until each has ended without an error.

    On a slow machine a statement of one may keep the engine for longer than another waits for its
    connection: that one goes on with its next run.
    """
    left = list(tasks)
    for _ in range(RUNS):
        errors = run_once(conn, config, left)
        assert set(errors.values()) <= {None, str(DatabaseUnavailable())}, errors
        left = [task_id for task_id, error in errors.items() if error is not None]
        if not left:
            return
    raise AssertionError(f"{left} had no connection in {RUNS} runs")


def run_once(conn: Connection, config: Config, tasks: Sequence[str]) -> dict[str, str | None]:
    """Let all tasks run once; the errors of these."""
    beat(conn)
    conn.execute("DELETE FROM tasks")

    def finished() -> dict[str, TaskRun]:
        return {run.task_id: run for run in read_tasks(conn) if run.last_finished_at is not None}

    with jobs(config):
        wait_until(lambda: set(tasks) <= set(finished()))
    return {task_id: finished()[task_id].last_error for task_id in tasks}


def assert_whole(conn: Connection, config: Config, stored: int) -> None:
    edge = edge_of(conn, "job_telemetry")
    assert edge is not None
    assert read_chunks(conn, "job_telemetry")[0].start >= edge
    assert value(conn, "SELECT count(*) FROM job_telemetry WHERE time < %s", edge) == 0
    for rollup in ("job_speed_1m", "job_speed_1h"):
        assert value(conn, f"SELECT sum(updates) FROM {rollup}") == stored, rollup
        buckets = f"FROM {table_of(conn, rollup)}"
        repeated = f"SELECT count(*) - count(DISTINCT (job_id, bucket)) {buckets}"
        assert value(conn, repeated) == 0, rollup
    kept = "SELECT count(*) FROM job_telemetry"
    assert value(conn, kept) == value(
        conn, "SELECT sum(updates) FROM job_speed_1m WHERE bucket >= %s", edge
    )
    assert sum(chunk.is_compressed for chunk in read_chunks(conn, "job_telemetry")) >= 3
    retention = [
        check
        for check in run_checks(conn, replace(config, **SETTINGS))
        if check.name == "retention"
    ]
    assert retention[0].ok, retention


def value(conn: Connection, sql: str, *params: object) -> object:
    row = conn.execute(sql.encode(), params or None).fetchone()
    assert row is not None
    return row[0]
