"""The heartbeat of a web process, for the stale detector (`app.domain.staleness`)."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable

from app.background import FailureLog, RepeatingThread
from app.database.pool import Connection, Database, DatabaseError
from app.domain.staleness import BEAT_SECONDS
from app.errors import DatabaseUnavailable
from app.store import staleness as store

logger = logging.getLogger("hub.heartbeat")


class Heartbeat:
    """Beats every BEAT_SECONDS from `start` to `stop`, while `is_taking` returns True.

    It has its own connection, because slow charts may exhaust the pool while ingest works. After a
    failure the next beat connects again.
    """

    def __init__(self, database: Database, is_taking: Callable[[], bool]) -> None:
        # Process ids are reused: the random part keeps a new process from continuing an old row.
        self.process_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._is_taking = is_taking
        self._conn: Connection | None = None
        self._failures = FailureLog(
            logger, "the heartbeat cannot be recorded", "the heartbeat is recorded again"
        )
        self._thread = RepeatingThread("heartbeat", self._beat, BEAT_SECONDS, finish=self._end)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Delete the last beat: this process takes no more updates. Idempotent."""
        self._thread.stop()

    def _beat(self) -> None:
        if self._is_taking():
            self._execute(lambda conn: store.beat(conn, self.process_id))

    def _end(self) -> None:
        self._execute(lambda conn: store.end_beat(conn, self.process_id))
        self._disconnect()

    def _execute(self, statement: Callable[[Connection], None]) -> None:
        with self._failures.attempt(DatabaseError, DatabaseUnavailable):
            try:
                statement(self._connection())
            except Exception:
                self._disconnect()
                raise

    def _connection(self) -> Connection:
        if self._conn is None:
            self._conn = self._database.connect(autocommit=True)
            store.forget_old_beats(self._conn)
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
