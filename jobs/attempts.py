"""What tasks share that do the same to many things: one that fails never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from app.database.pool import Connection
from app.errors import DatabaseUnavailable, HubError

logger = logging.getLogger("hub.tasks")


class Attempts:
    """Notes what failed, to be told at the end. `aim`: what was to be done, like "compressed"."""

    def __init__(self, conn: Connection, aim: str) -> None:
        self._conn = conn
        self._aim = aim
        self._failed: list[str] = []

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Log a failure and go on. Raises DatabaseUnavailable when the connection is lost."""
        try:
            yield
        except (psycopg.Error, HubError) as exc:
            if self._conn.closed:
                raise DatabaseUnavailable from exc
            logger.exception("%s could not be %s", name, self._aim)
            self._failed.append(name)

    def raise_failed(self) -> None:
        """Raise HubError naming what failed, if anything did, so that the run counts as failed."""
        if self._failed:
            names = ", ".join(self._failed)
            raise HubError(f"{names} could not be {self._aim}; the log has the reason.")
