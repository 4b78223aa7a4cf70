"""Decides when each task runs. The only module that uses APScheduler."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from app.clock import ClockWatch, utc_now
from jobs.runner import Runner
from jobs.schedule import Task, first_delays

logger = logging.getLogger("hub.tasks")


class Scheduler:
    """Runs each task on its interval, in a thread of a pool, so that a slow task delays no other.

    A task is paused while it runs: otherwise APScheduler logs a warning for each skipped run.
    """

    def __init__(self, runner: Runner, tasks: list[Task]) -> None:
        self._runner = runner
        self._tasks = tasks
        self._clock = ClockWatch()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        for task in tasks:
            self._scheduler.add_job(
                self._run,
                "interval",
                args=[task],
                id=task.id,
                seconds=task.interval_seconds,
                misfire_grace_time=None,  # however late: its lease decides whether it is due
            )

    def start(self) -> None:
        """Start the tasks, one after the other."""
        self._scheduler.start(paused=True)
        self._run_soon()
        self._scheduler.resume()

    def check_clock(self) -> None:
        """Try every task now if the clock was set: after an hour back they would wait an hour."""
        if self._clock.was_set():
            logger.warning("the clock was set: the tasks follow it from now on")
            self._run_soon()

    def stop(self) -> None:
        """Start no further task."""
        self._scheduler.shutdown(wait=False)

    def _run(self, task: Task) -> None:
        self._scheduler.pause_job(task.id)
        began = time.monotonic()
        try:
            self._runner.run(task)
        finally:
            elapsed = time.monotonic() - began
            with suppress(JobLookupError):  # the scheduler was stopped meanwhile
                self._plan(task, task.interval_seconds - elapsed % task.interval_seconds)

    def _run_soon(self) -> None:
        """Plan the next run of each task that is not running."""
        for task, delay in zip(self._tasks, first_delays(self._tasks), strict=True):
            job = self._scheduler.get_job(task.id)
            if job is not None and job.next_run_time is not None:
                self._plan(task, delay)

    def _plan(self, task: Task, seconds: float) -> None:
        due: datetime = utc_now() + timedelta(seconds=seconds)
        self._scheduler.modify_job(task.id, next_run_time=due)
