"""The scheduled tasks and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.database.pool import Database
from jobs import (
    compress_chunks,
    detect_offline_nodes,
    detect_stale_jobs,
    drop_expired_chunks,
    find_attention,
    fold_job_counts,
    heartbeat,
    judge_runs,
    notify,
    refresh_rollups,
    summarise_finished_jobs,
    vacuum_tables,
)

# Compression and retention: a chunk spans at least 6 hours, so an hour later is soon enough.
CHUNKS_SECONDS = 3_600
NODES_SECONDS = 30  # a sixth of the silence after which a node is offline
SUMMARIES_SECONDS = 3  # an ended job has its summary within 5 s; without one it is one look-up
JUDGE_SECONDS = 5  # a run that ended well is shown as such within 10 s; else it is one look-up
NOTIFY_SECONDS = 3  # a message is on its way within 10 s; without any it is one look-up
HEARTBEAT_SECONDS = 60
COUNTS_SECONDS = 60  # a reader adds up what is logged since: 1 ms for 5,000 changes
VACUUM_SECONDS = 300  # at 1,000 updates a second, at most 300,000 dead rows
APART_SECONDS = 0.5  # between the starts of two tasks: about as long as one takes

# (database, config, now) -> the result to record, as JSON by orjson. `now` is for tests: by default
# the database's clock counts. A task must be idempotent and safe while ingest is active: if a
# process is paused for longer than its lease, two may run it at once. It raises
# DatabaseUnavailable, or at its end HubError with what failed; the next run continues.
Run = Callable[[Database, Config, datetime | None], object]


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its id in the table `tasks`, its function, and how often it is due."""

    id: str
    run: Run
    interval_seconds: int


def first_delays(scheduled: list[Task]) -> list[float]:
    """Seconds until the first run of each task: soon, but one after the other.

    Intervals are multiples of each other, so tasks that start together would always run together;
    and while one runs, the embedded engine serves no other connection.
    """
    shortest = min(task.interval_seconds for task in scheduled)
    apart = min(APART_SECONDS, shortest / len(scheduled))
    return [number * apart for number in range(len(scheduled))]


def tasks(config: Config) -> list[Task]:
    """Every task, with its interval from the settings."""
    scheduled: list[tuple[str, Run, int]] = [
        ("detect_stale_jobs", detect_stale_jobs.run_once, config.sweep_seconds),
        ("detect_offline_nodes", detect_offline_nodes.run_once, NODES_SECONDS),
        ("refresh_rollups", refresh_rollups.run_once, config.rollup_seconds),
        ("summarise_finished_jobs", summarise_finished_jobs.run_once, SUMMARIES_SECONDS),
        ("judge_runs", judge_runs.run_once, JUDGE_SECONDS),
        ("find_attention", find_attention.run_once, config.sweep_seconds),
        ("notify", notify.run_once, NOTIFY_SECONDS),
        ("heartbeat", heartbeat.run_once, HEARTBEAT_SECONDS),
        ("fold_job_counts", fold_job_counts.run_once, COUNTS_SECONDS),
        ("compress_chunks", compress_chunks.run_once, CHUNKS_SECONDS),
        ("drop_expired_chunks", drop_expired_chunks.run_once, CHUNKS_SECONDS),
    ]
    if config.is_embedded:
        scheduled.append(("vacuum_tables", vacuum_tables.run_once, VACUUM_SECONDS))
    return [Task(name, run, config.task_interval(seconds)) for name, run, seconds in scheduled]
