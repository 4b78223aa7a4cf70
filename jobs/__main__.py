"""`python -m jobs`: runs the scheduled tasks until SIGTERM or SIGINT.

Several of these processes may run; each task runs in one of them at a time. The database may be
unavailable at any time, even at the start.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from app.background import FailureLog
from app.config import Config, log_unknown_variables
from app.database.pool import Database
from app.errors import ConfigError
from app.lifeline import end_with_parent
from app.logs import configure_logging
from jobs.runner import Runner
from jobs.schedule import tasks
from jobs.scheduler import Scheduler

logger = logging.getLogger("hub.tasks")

CLOCK_SECONDS = 1.0  # how often to see whether the clock was set
ADDRESS_SECONDS = 1.0  # how often to look for the embedded database's address
# How long to wait for a running task. After that its transaction is rolled back, and its lease
# expires.
STOP_SECONDS = 1.0


def main() -> int:
    """Run the tasks until a signal; return the exit status."""
    try:
        config = Config.from_env()
    except ConfigError as exc:
        print(f"hub: {exc}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    configure_logging(config.log_level)
    # They log every run and every attempt to connect; the runner logs the first failure.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    log_unknown_variables(logger)
    end_with_parent()
    database = _find_database(config, stop)
    if database is not None:
        _run(database, config, stop)
    logger.info("the tasks stopped")
    return 0


def _find_database(config: Config, stop: threading.Event) -> Database | None:
    """The database, as soon as its address is known; None if stopped before."""
    failures = FailureLog(
        logger, "the tasks wait for the database", "the database's address is known", logging.ERROR
    )
    while not stop.is_set():
        with failures.attempt(ConfigError):
            return Database.of_owner(config)
        stop.wait(ADDRESS_SECONDS)
    return None


def _run(database: Database, config: Config, stop: threading.Event) -> None:
    database.open()
    runner = Runner(database, config)
    scheduler = Scheduler(runner, tasks(config))
    scheduler.start()
    every_seconds = config.task_interval(config.sweep_seconds)
    logger.info("Stale job detector started", extra={"every_seconds": every_seconds})
    while not stop.wait(CLOCK_SECONDS):
        scheduler.check_clock()
    scheduler.stop()
    if not runner.stop(STOP_SECONDS):
        logger.warning("the tasks stopped while one was running")
        os._exit(0)  # a thread that waits for the database may take long to end
    database.close()


if __name__ == "__main__":
    sys.exit(main())
