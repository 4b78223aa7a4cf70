"""Runs one task if it is due and no other process runs it, and records the result.

The row of a task is a lease that expires: if the process that runs the task dies, another takes
over.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import orjson

from app.background import FailureLog, RepeatingThread
from app.config import Config
from app.database.pool import Database
from app.errors import HubError, Unavailable
from app.store import tasks as store
from jobs.schedule import Task

logger = logging.getLogger("hub.tasks")

LEASE_SECONDS = 30.0  # after this another process may take the task of a dead one
RENEWALS_PER_LEASE = 3  # one or two may fail


class Runner:
    """Runs the tasks of this process. Thread-safe, but a task may run only once at a time."""

    def __init__(self, database: Database, config: Config) -> None:
        # Two containers may have the same name and process id.
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._config = config
        self._changed = threading.Condition()
        self._running = 0
        self._is_stopping = False
        self._outage = FailureLog(
            logger, "the tasks wait for the database", "the tasks continue", logging.ERROR
        )

    def run(self, task: Task, now: datetime | None = None) -> bool:
        """Run the task if its lease is free; return whether it ran. `now` is for tests.

        An error of the task or the database is recorded and logged, not raised.
        """
        with self._changed:
            if self._is_stopping:
                return False
            self._running += 1
        try:
            return self._run(task, now)
        except Unavailable as exc:
            self._outage.failed(exc)
            return False
        except Exception:
            logger.exception("the task %s could not be run", task.id)
            return False
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def stop(self, seconds: float) -> bool:
        """Start no more tasks and wait for running ones; False if one still runs after that."""
        with self._changed:
            self._is_stopping = True
            return self._changed.wait_for(lambda: self._running == 0, seconds)

    def _run(self, task: Task, now: datetime | None) -> bool:
        with self._database.transaction() as conn:
            is_mine = store.claim_task(
                conn,
                task.id,
                self.holder,
                interval_seconds=task.interval_seconds,
                lease_seconds=LEASE_SECONDS,
                now=now,
            )
        self._outage.succeeded()
        if not is_mine:
            return False
        started = time.monotonic()
        with self._renewed_lease(task):
            result, error = self._attempt(task, now)
        duration = time.monotonic() - started
        with self._database.transaction() as conn:
            is_recorded = store.finish_task(
                conn,
                task.id,
                self.holder,
                duration_seconds=duration,
                result=result,
                error=error,
                now=now,
            )
        if not is_recorded:
            logger.warning("the lease of the task %s expired and another process took it", task.id)
        return True

    def _attempt(self, task: Task, now: datetime | None) -> tuple[str | None, str | None]:
        """Run the task; return its result as JSON, or a message that is safe to show."""
        try:
            return orjson.dumps(task.run(self._database, self._config, now)).decode(), None
        except HubError as exc:
            logger.error("the task %s failed: %s", task.id, exc)
            return None, str(exc)
        except Exception as exc:
            logger.exception("the task %s failed", task.id)
            return None, f"It failed with {type(exc).__name__}; the reason is in the hub's log."

    @contextmanager
    def _renewed_lease(self, task: Task) -> Iterator[None]:
        """Renew the lease of a task while it runs."""
        seconds = LEASE_SECONDS / RENEWALS_PER_LEASE
        thread = RepeatingThread("lease", lambda: self._renew(task), seconds, delay=seconds)
        thread.start()
        try:
            yield
        finally:
            thread.stop(wait_seconds=0)  # it may be waiting for a connection

    def _renew(self, task: Task) -> None:
        # If the database stays unavailable, the task fails too.
        with suppress(Unavailable), self._database.transaction() as conn:
            store.renew_lease(conn, task.id, self.holder, LEASE_SECONDS)
