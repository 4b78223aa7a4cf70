"""Failures are loud, but not endless: each kind is logged at once, and then once a minute."""

from __future__ import annotations

import logging
import time

QUIET_SECONDS = 60.0
MOST_KINDS = 100  # reasons may hold text of a hub or of a tool


class Loud:
    """Logs a message of each kind at most once in QUIET_SECONDS. For the threads of one tracker."""

    def __init__(self, logger: logging.Logger, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._logger = logger
        self._quiet_seconds = quiet_seconds
        self._said_at: dict[str, float] = {}
        self._withheld: dict[str, int] = {}

    def say(
        self,
        kind: str,
        message: str,
        *args: object,
        level: int = logging.ERROR,
        trace: bool = False,
    ) -> None:
        """Log it, or count it as withheld. `trace`: with the exception being handled."""
        now = time.monotonic()
        if now - self._said_at.get(kind, -self._quiet_seconds) < self._quiet_seconds:
            self._withheld[kind] = self._withheld.get(kind, 0) + 1
            return
        if len(self._said_at) >= MOST_KINDS:
            self._said_at.clear()
        self._said_at[kind] = now
        if withheld := self._withheld.pop(kind, 0):
            message, args = message + " (%d more like it were not logged)", (*args, withheld)
        self._logger.log(level, message, *args, exc_info=trace)

    def once(self, kind: str, message: str, *args: object, level: int = logging.WARNING) -> None:
        """Log it the first time only."""
        if kind not in self._said_at and len(self._said_at) < MOST_KINDS:
            self._said_at[kind] = float("inf")
            self._logger.log(level, message, *args)
