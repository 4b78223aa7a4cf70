"""Runs one task when it is due and nobody else runs it, and records what became of it.

The row of a task is a lease that expires: any number of processes may try, one runs, and when that
one dies another takes over.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from datetime import datetime
from types import TracebackType

import orjson

from app.config import Config
from app.database.pool import Database
from app.errors import HubError, Unavailable
from app.store import tasks as store
from jobs.schedule import Task

logger = logging.getLogger("hub.tasks")

LEASE_SECONDS = 30.0  # after this long a dead process's task is another's
RENEWALS_PER_LEASE = 3  # one or two may fail


class Runner:
    """Runs tasks for this process. Thread-safe; a task must not be run twice at once in it."""

    def __init__(self, database: Database, config: Config) -> None:
        # Two containers may have the same name and process id.
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._config = config
        self._changed = threading.Condition()
        self._running = 0
        self._is_stopping = False
        self._trouble: str | None = None

    def run(self, task: Task, now: datetime | None = None) -> bool:
        """Run the task if its lease can be had; whether it ran. `now` is for tests.

        Raises nothing that a task or the database can cause: a failure is recorded and logged.
        """
        with self._changed:
            if self._is_stopping:
                return False
            self._running += 1
        try:
            return self._run(task, now)
        except Unavailable as exc:
            self._note(str(exc))
            return False
        except Exception:
            logger.exception("the task %s could not be run", task.id)
            return False
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def stop(self, seconds: float) -> bool:
        """Begin no more tasks and wait for those that run; False when one does after that long."""
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
        self._note(None)
        if not is_mine:
            return False
        started = time.monotonic()
        with _Renewal(self._database, task.id, self.holder):
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
            logger.warning("the task %s outlived its lease: another process took it", task.id)
        return True

    def _attempt(self, task: Task, now: datetime | None) -> tuple[str | None, str | None]:
        """Run the task; its result as JSON, or why it failed as a sentence for everybody."""
        try:
            return orjson.dumps(task.run(self._database, self._config, now)).decode(), None
        except HubError as exc:
            logger.error("the task %s failed: %s", task.id, exc)
            return None, str(exc)
        except Exception as exc:
            logger.exception("the task %s failed", task.id)
            return None, f"It failed with {type(exc).__name__}; the log has the reason."

    def _note(self, trouble: str | None) -> None:
        """Log that the database is away, or back: once, and not with every task and tick."""
        with self._changed:
            before, self._trouble = self._trouble, trouble
        if trouble is not None and trouble != before:
            logger.error("the tasks wait: %s", trouble)
        if trouble is None and before is not None:
            logger.info("the tasks go on")


class _Renewal:
    """Keeps a lease while its task runs."""

    def __init__(self, database: Database, task_id: str, holder: str) -> None:
        self._database = database
        self._task_id = task_id
        self._holder = holder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()  # not joined: it may wait for a connection

    def _renew(self) -> None:
        while not self._done.wait(LEASE_SECONDS / RENEWALS_PER_LEASE):
            try:
                with self._database.transaction() as conn:
                    store.renew_lease(conn, self._task_id, self._holder, LEASE_SECONDS)
            except Unavailable:
                continue  # the task itself will meet it, or the next renewal will not
            except Exception:
                logger.exception("the lease of %s could not be renewed", self._task_id)
