"""Checks the database for GET /health, without waiting long for it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from app.database.migrate import pending
from app.database.pool import Connection, Database, translated_errors
from app.errors import DatabaseDamaged, DatabaseUnavailable
from app.store.tasks import TaskRun, read_tasks, waited_for_tasks_seconds

logger = logging.getLogger("hub.health")

FRESH_SECONDS = 1.0  # requests within this time share one look at the database
WAIT_SECONDS = 0.4  # so that an answer takes less than a second under overload
KEPT_WAIT_SECONDS = 0.2
CUT_SECONDS = 10.0  # if a look takes longer, its connection is lost (network split)


@dataclass(frozen=True)
class Look:
    """The result of one look. `at` is monotonic; `error` is a sentence without details."""

    at: float = 0.0
    seconds: float = 0.0
    pending_migrations: tuple[str, ...] = ()
    error: str | None = None
    tasks: tuple[TaskRun, ...] = ()
    waited_for_tasks_seconds: float = 0.0
    analysts_refused_until: datetime | None = None


class DatabaseProbe:
    """Looks at the database on request, in its own thread, one look at a time. Thread-safe.

    A database that does not answer (stopped, disk full, broken network) blocks only that thread;
    requests get the last look and its age. A look opens its own connection, because slow charts may
    exhaust the pool while ingest works.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: Look | None = None
        self._began: float | None = None  # of the current look
        self._silent_since: float | None = None  # the first look since its last answer
        self._wanted: Database | None = None  # of the next look
        self._thread: threading.Thread | None = None
        self._conn: Connection | None = None

    def look(self, database: Database) -> Look | None:
        """The latest look, at most FRESH_SECONDS old if the database answers.

        Waits for the current look until WAIT_SECONDS after its start: while the database does not
        answer, only the first request waits. None before the first answer.
        """
        with self._changed:
            if not self._is_fresh():
                self._begin(database)
                began = cast(float, self._began)
                remaining = began + WAIT_SECONDS - time.monotonic()
                self._changed.wait_for(self._is_fresh, max(0.0, remaining))
            return self._latest

    @property
    def silent_seconds(self) -> float:
        """For how long the database has not answered. 0 if it has answered what it was asked.

        Looks come with requests for /health, so this is not the age of the last look.
        """
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    def _is_fresh(self) -> bool:
        return self._latest is not None and time.monotonic() - self._latest.at < FRESH_SECONDS

    def _begin(self, database: Database) -> None:
        """Start a look, unless one is running; close its connection if it hangs."""
        if self._began is None:
            if self._thread is None:  # kept, because later there may be no memory for a thread
                thread = threading.Thread(target=self._run, name="database-probe", daemon=True)
                thread.start()
                self._thread = thread
            self._wanted, self._began = database, time.monotonic()
            if self._silent_since is None:
                self._silent_since = self._began
            self._changed.notify_all()
        elif self._conn is not None and time.monotonic() - self._began > CUT_SECONDS:
            # The thread gets an error, and the next request starts another look.
            with socket.socket(fileno=os.dup(self._conn.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
            self._conn = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None)
                database, self._wanted = cast(Database, self._wanted), None
            self._look_at(database)
            del database

    def _look_at(self, database: Database) -> None:
        began = time.monotonic()
        try:
            look = self._ask(database)
        except DatabaseDamaged as exc:
            look = Look(error=str(exc))
        except DatabaseUnavailable:
            look = Look(error="The database cannot be reached.")
        except Exception:  # the thread must report it and continue
            logger.exception("the check of the database failed")
            look = Look(error="The check of the database failed; the reason is in the hub's log.")
        now = time.monotonic()
        with self._changed:
            self._latest = replace(look, at=now, seconds=now - began)
            self._began = None
            if look.error is None:
                self._silent_since = None
            self._changed.notify_all()

    def _ask(self, database: Database) -> Look:
        with translated_errors(), _connection(database) as conn:
            with self._changed:
                self._conn = conn
            try:
                return Look(
                    pending_migrations=tuple(pending(conn)),
                    tasks=tuple(read_tasks(conn)),
                    waited_for_tasks_seconds=waited_for_tasks_seconds(conn),
                    analysts_refused_until=_analysts_refused_until(conn),
                )
            finally:
                with self._changed:  # another thread may be using its descriptor
                    self._conn = None


def _analysts_refused_until(conn: Connection) -> datetime | None:
    """Until when the embedded engine lets no analyst connect; None if it does, or on a server."""
    row = conn.execute(
        "SELECT until FROM CAST(nullif(current_setting('hub.analysts_refused_until', true), '') "
        "AS timestamptz) AS until WHERE until > now()"
    ).fetchone()
    return None if row is None else row[0]


@contextmanager
def _connection(database: Database) -> Iterator[Connection]:
    """A new connection, or one of the pool if the server allows no more."""
    try:
        conn = database.connect(autocommit=True)  # bounded by its connect_timeout
    except DatabaseUnavailable:
        with database.reading(KEPT_WAIT_SECONDS) as conn:
            yield conn
    else:
        with closing(conn):
            yield conn
