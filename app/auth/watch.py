"""Brings what was revoked, and changed keys, to one process's guard, in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg

from app.auth.guard import Guard
from app.auth.keys import read_keys
from app.database.pool import Database
from app.errors import ConfigError, DatabaseUnavailable
from app.store.tokens import read_revoked_ids

logger = logging.getLogger("hub.tokens")

# What is revoked is refused after this and one look, of which connecting may take 5 s: less than 30
# s in all. While the database is away nothing new is known, and nothing can be pushed or read.
POLL_SECONDS = 5.0
FIRST_LOOK_SECONDS = 2.0
STOP_SECONDS = 2.0


class TokenWatch:
    """Looks every POLL_SECONDS from `start` to `stop`. What fails keeps what was known.

    Every look has a connection of its own: on one that is kept, a network that swallows packets
    would hold the next look for minutes.
    """

    def __init__(self, guard: Guard, database: Database, key_file: Path) -> None:
        self._guard = guard
        self._database = database
        self._key_file = key_file
        self._failing: set[str] = set()
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tokens", daemon=True)

    def start(self) -> None:
        """Begin to look. Returns after the first look, or soon, while the database is away."""
        self._thread.start()
        self._looked.wait(FIRST_LOOK_SECONDS)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def look(self) -> None:
        """Learn what is new, now."""
        self._try("the revoked tokens", self._read_revoked)
        self._try("the token keys", self._read_keys)
        self._looked.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(POLL_SECONDS)

    def _read_revoked(self) -> None:
        with self._database.connect(autocommit=True) as conn:
            if not self._database.is_embedded:  # which knows no timeout
                conn.execute(f"SET statement_timeout = '{POLL_SECONDS:.0f}s'")
            self._guard.replace_revoked(read_revoked_ids(conn))

    def _read_keys(self) -> None:
        self._guard.replace_keys(read_keys(self._key_file))

    def _try(self, what: str, look: Callable[[], None]) -> None:
        """Say it once when it begins to fail, and once when it works again."""
        try:
            look()
        except (psycopg.Error, DatabaseUnavailable, ConfigError) as exc:
            if what not in self._failing:
                reason = str(exc).strip().splitlines()[0:1]
                logger.warning("%s cannot be read, what was known stays: %s", what, reason)
            self._failing.add(what)
        except Exception:  # nothing may end this thread
            logger.exception("%s cannot be read, what was known stays", what)
        else:
            if what in self._failing:
                logger.info("%s can be read again", what)
            self._failing.discard(what)
