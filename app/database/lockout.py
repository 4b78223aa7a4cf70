"""Keeps analysts out of the embedded engine for a while after their statements have ended it twice.

The engine cannot defend itself against every statement: one that overflows its stack ends it, and
one that takes too long has to be ended with it. Each end costs all others a restart.
"""

from __future__ import annotations

import time

WITHIN_SECONDS = 600.0
LOCKOUT_SECONDS = 600.0


class AnalystLockout:
    """Not thread-safe. Times are monotonic."""

    def __init__(self) -> None:
        self._last_end: float | None = None
        self._until = 0.0

    def note_end(self) -> bool:
        """A statement of an analyst has ended the engine; whether that starts a lockout."""
        now = time.monotonic()
        is_repeated = self._last_end is not None and now - self._last_end < WITHIN_SECONDS
        self._last_end = None if is_repeated else now
        if is_repeated:
            self._until = now + LOCKOUT_SECONDS
        return is_repeated

    def seconds_left(self) -> float:
        """How long analysts are still kept out; 0 if they are not."""
        return max(0.0, self._until - time.monotonic())
