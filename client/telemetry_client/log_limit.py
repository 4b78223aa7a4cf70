"""Repeated failures are logged at once, and then once a minute."""

from __future__ import annotations

import logging
import time

INTERVAL_SECONDS = 60.0
MAX_KINDS = 100  # reasons may contain text of a hub or of a tool


class LimitedLog:
    """Logs a message of each kind at most once in `interval_seconds`. For one tracker's threads."""

    def __init__(self, logger: logging.Logger, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._logger = logger
        self._interval_seconds = interval_seconds
        self._logged_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def log(
        self,
        kind: str,
        message: str,
        *args: object,
        level: int = logging.ERROR,
        trace: bool = False,
    ) -> None:
        """Log it, or count it as suppressed. `trace`: with the exception being handled."""
        now = time.monotonic()
        if now - self._logged_at.get(kind, -self._interval_seconds) < self._interval_seconds:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        if len(self._logged_at) >= MAX_KINDS:
            self._logged_at.clear()
        self._logged_at[kind] = now
        if suppressed := self._suppressed.pop(kind, 0):
            message, args = message + " (%d similar ones were not logged)", (*args, suppressed)
        self._logger.log(level, message, *args, exc_info=trace)

    def log_once(
        self, kind: str, message: str, *args: object, level: int = logging.WARNING
    ) -> None:
        """Log it the first time only."""
        if kind not in self._logged_at and len(self._logged_at) < MAX_KINDS:
            self._logged_at[kind] = float("inf")
            self._logger.log(level, message, *args)
