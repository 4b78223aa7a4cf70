"""`python -m jobs`: runs the scheduled tasks until it is told to stop (SIGTERM, SIGINT).

Any number of these processes may run; each task is run by one of them at a time. The database may
be away at any moment, also at the start. The only file that knows APScheduler.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from datetime import UTC

from apscheduler.schedulers.background import BackgroundScheduler

from app.clock import ClockWatch, utc_now
from app.config import Config
from app.database.pool import Database
from app.errors import ConfigError
from app.lifeline import end_with_parent
from app.logs import configure_logging
from jobs.runner import Runner
from jobs.schedule import Task, first_runs, tasks

logger = logging.getLogger("hub.tasks")

CLOCK_SECONDS = 1.0  # how often to see whether the clock was set
ADDRESS_SECONDS = 1.0  # how often to look for the embedded database's address
# For a task that runs, or waits for the database. Cut off, its transaction is undone and its lease
# expires, so there is no need to wait for long.
STOP_SECONDS = 1.0


def main() -> int:
    """Run the tasks until a signal; the exit status."""
    try:
        config = Config.from_env()
    except ConfigError as exc:
        print(f"hub: {exc}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _configure_logging(config)
    end_with_parent()
    database = _find_database(config, stop)
    if database is not None:
        _run(database, config, stop)
    logger.info("the tasks stopped")
    return 0


def _configure_logging(config: Config) -> None:
    configure_logging(config.log_level)
    # They tell of every run and of every attempt to connect; the runner says it once.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _find_database(config: Config, stop: threading.Event) -> Database | None:
    """The database, as soon as its address is known; None when stopped before."""
    is_waiting = False
    while not stop.is_set():
        try:
            return Database.of_owner(config)
        except ConfigError as exc:
            if not is_waiting:
                logger.error("the tasks wait: %s", exc)
            is_waiting = True
        stop.wait(ADDRESS_SECONDS)
    return None


def _run(database: Database, config: Config, stop: threading.Event) -> None:
    database.open()
    runner = Runner(database, config)
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduled = tasks(config)
    due = first_runs(scheduled, utc_now())
    for task in scheduled:
        scheduler.add_job(
            runner.run,
            "interval",
            args=[task],
            id=task.id,
            seconds=task.interval_seconds,
            next_run_time=due[task.id],
            max_instances=1,
            coalesce=True,  # after a pause one run makes up for all that were missed,
            misfire_grace_time=None,  # however late it is
        )
    scheduler.start()
    every_seconds = config.task_interval(config.sweep_seconds)
    logger.info("Stale job detector started", extra={"every_seconds": every_seconds})
    clock = ClockWatch()
    while not stop.wait(CLOCK_SECONDS):
        if clock.was_set():
            _run_soon(scheduler, scheduled)
    scheduler.shutdown(wait=False)
    if not runner.stop(STOP_SECONDS):
        logger.warning("the tasks stopped in the middle of one")
        os._exit(0)  # its thread would hold the process up
    database.close()


def _run_soon(scheduler: BackgroundScheduler, scheduled: list[Task]) -> None:
    """Try every task now: set back by an hour, the clock would have them all wait for an hour.

    Whether one is due is for its lease to say.
    """
    logger.warning("the clock was set: the tasks go by it from now on")
    for task_id, due in first_runs(scheduled, utc_now()).items():
        scheduler.modify_job(task_id, next_run_time=due)


if __name__ == "__main__":
    sys.exit(main())
