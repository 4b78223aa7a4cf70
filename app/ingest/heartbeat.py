"""The beat of a web process: says in the database that it takes updates, so that a job's silence
counts only while somebody listens (`app.domain.staleness`).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable

import psycopg

from app.database.pool import Connection, Database
from app.domain.staleness import BEAT_SECONDS
from app.errors import DatabaseUnavailable
from app.store import staleness as store

logger = logging.getLogger("hub.heartbeat")

STOP_SECONDS = 2.0  # a database that is away must not hold up the end of the process


class Heartbeat:
    """Beats every BEAT_SECONDS from `start` to `stop`, as long as `is_taking` says so.

    On a connection of its own: a pool drained by slow charts says nothing about ingest. A failed
    beat is only one that is missing; the next one tries again.
    """

    def __init__(self, database: Database, is_taking: Callable[[], bool]) -> None:
        # A process id comes again, a new process watches anew: hence the random part.
        self.process_id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._is_taking = is_taking
        self._conn: Connection | None = None
        self._is_failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Take back the last beat, as nobody listens from now on. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        self._try(store.forget_old_beats)
        while not self._stopping.is_set():
            if self._is_taking():
                self._try(lambda conn: store.beat(conn, self.process_id))
            self._stopping.wait(BEAT_SECONDS)
        self._try(lambda conn: store.end_beat(conn, self.process_id))
        self._disconnect()

    def _try(self, statement: Callable[[Connection], None]) -> None:
        try:
            if self._conn is None:
                self._conn = self._database.connect(autocommit=True)
            statement(self._conn)
        except (psycopg.Error, DatabaseUnavailable) as exc:
            self._disconnect()
            if not self._is_failing:
                logger.warning("the beat fails: %s", str(exc).strip().splitlines()[0:1])
            self._is_failing = True
        except Exception:  # nothing may end this thread
            logger.exception("the beat fails")
            self._disconnect()
        else:
            self._is_failing = False

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
