"""Keeps a process's guard up to date with revoked tokens and changed keys, in the background."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from app.auth.guard import Guard
from app.auth.keys import read_keys
from app.background import FailureLog, RepeatingThread
from app.database.pool import Database, DatabaseError
from app.errors import ConfigError, DatabaseUnavailable
from app.store.tokens import read_revoked_ids

logger = logging.getLogger("hub.tokens")

# A revoked token is refused after this time and one look, in which connecting may take 5 s: less
# than 30 s in all. While the database is away nothing new is known, and nothing can be pushed or
# read.
POLL_SECONDS = 5.0
FIRST_LOOK_SECONDS = 2.0


class TokenWatch:
    """Looks every POLL_SECONDS from `start` to `stop`. If a look fails, the last result stays.

    Every look opens a connection: on one that is kept, a network that drops packets would block
    the next look for minutes.
    """

    def __init__(self, guard: Guard, database: Database, key_file: Path) -> None:
        self._guard = guard
        self._database = database
        self._key_file = key_file
        self._revoked_failures = FailureLog(
            logger,
            "revoked tokens cannot be read, the last list stays in force",
            "revoked tokens can be read again",
        )
        self._key_failures = FailureLog(
            logger,
            "token keys cannot be read, the last ones stay in force",
            "token keys can be read again",
        )
        self._looked = threading.Event()
        self._thread = RepeatingThread("tokens", self.look, POLL_SECONDS)

    def start(self) -> None:
        """Start the thread. Returns after the first look, or FIRST_LOOK_SECONDS."""
        self._thread.start()
        self._looked.wait(FIRST_LOOK_SECONDS)

    def stop(self) -> None:
        """Stop the thread. Idempotent."""
        self._thread.stop()

    def look(self) -> None:
        """Read the revoked tokens and the keys now."""
        with self._revoked_failures.attempt(DatabaseError, DatabaseUnavailable):
            self._read_revoked()
        with self._key_failures.attempt(ConfigError):
            self._guard.replace_keys(read_keys(self._key_file))
        self._looked.set()

    def _read_revoked(self) -> None:
        with self._database.connect(autocommit=True) as conn:
            if not self._database.is_embedded:  # which has no statement_timeout
                conn.execute(f"SET statement_timeout = '{POLL_SECONDS:.0f}s'")
            self._guard.replace_revoked(read_revoked_ids(conn))
