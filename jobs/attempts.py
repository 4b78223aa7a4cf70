"""For tasks that work on many items: one that fails does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.database.pool import Connection
from app.errors import DatabaseUnavailable, HubError

logger = logging.getLogger("hub.tasks")


class Attempts:
    """Collects the names of failed items. `aim`: the action, such as "compressed"."""

    def __init__(self, conn: Connection, aim: str) -> None:
        self._conn = conn
        self._aim = aim
        self._failed: list[str] = []

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Log a failure and continue. Raises DatabaseUnavailable if the connection is lost."""
        try:
            yield
        except Exception as exc:
            if self._conn.closed:
                raise DatabaseUnavailable from exc
            logger.exception("%s could not be %s", name, self._aim)
            self._failed.append(name)

    def raise_failed(self) -> None:
        """Raise HubError with the names of failed items, if any: the run then counts as failed."""
        if self._failed:
            names = ", ".join(self._failed)
            raise HubError(f"{names} could not be {self._aim}; the reason is in the hub's log.")
