"""The table of scheduled tasks: what runs, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.config import Config
from app.database.pool import Database
from jobs import (
    compress_chunks,
    detect_offline_nodes,
    detect_stale_jobs,
    drop_expired_chunks,
    refresh_rollups,
    summarise_finished_jobs,
    vacuum_tables,
)

# Compressing and dropping: a chunk spans 6 hours at the least, so an hour later is soon enough.
CHUNKS_SECONDS = 3_600
NODES_SECONDS = 30  # a sixth of the silence that takes a node offline
VACUUM_SECONDS = 300  # at 1,000 updates a second, 300,000 dead rows at the most
APART = timedelta(seconds=0.5)  # between their beginnings; about as long as one works

# (database, config, now) -> what is kept of the run: anything orjson can write. `now` is for tests;
# in production it is None, and the database's clock counts. It must be idempotent: a process that
# was paused for longer than its lease may meet another one.
Run = Callable[[Database, Config, datetime | None], object]


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its id in the table `tasks`, what it does, and how often it is due."""

    id: str
    run: Run
    interval_seconds: int


def first_runs(scheduled: list[Task], now: datetime) -> dict[str, datetime]:
    """When each task is due first, by its id: at once, but one after the other.

    Their intervals are multiples of each other, so those that begin together come together for
    ever; and while one works the embedded engine serves nobody else.
    """
    shortest = min(task.interval_seconds for task in scheduled)
    apart = min(APART, timedelta(seconds=shortest) / len(scheduled))
    return {task.id: now + number * apart for number, task in enumerate(scheduled)}


def tasks(config: Config) -> list[Task]:
    """Every task, as the settings have it."""
    scheduled: list[tuple[str, Run, int]] = [
        ("detect_stale_jobs", detect_stale_jobs.run_once, config.sweep_seconds),
        ("detect_offline_nodes", detect_offline_nodes.run_once, NODES_SECONDS),
        ("refresh_rollups", refresh_rollups.run_once, config.rollup_seconds),
        ("summarise_finished_jobs", summarise_finished_jobs.run_once, config.rollup_seconds),
        ("compress_chunks", compress_chunks.run_once, CHUNKS_SECONDS),
        ("drop_expired_chunks", drop_expired_chunks.run_once, CHUNKS_SECONDS),
    ]
    if config.is_embedded:
        scheduled.append(("vacuum_tables", vacuum_tables.run_once, VACUUM_SECONDS))
    return [Task(name, run, config.task_interval(seconds)) for name, run, seconds in scheduled]
