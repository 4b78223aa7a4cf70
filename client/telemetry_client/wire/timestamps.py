"""The timestamps of updates: RFC 3339 in UTC, with microseconds."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Stamps:
    """The timestamps of one tracker's updates: strictly increasing microseconds of the wall clock.

    If the wall clock is set back, they continue at the pace of the monotonic clock.
    """

    def __init__(self) -> None:
        self._last_us = 0
        self._last_monotonic_ns = 0

    def take(self, now: tuple[int, int] | None = None) -> str:
        """The timestamp of an instant (`instant()`, now if None), or the next free one after it."""
        wall_ns, monotonic_ns = now or instant()
        passed_us = (monotonic_ns - self._last_monotonic_ns) // 1_000
        if wall_ns // 1_000 > self._last_us:
            self._last_us = wall_ns // 1_000
        else:
            self._last_us += max(1, passed_us)
        self._last_monotonic_ns = max(monotonic_ns, self._last_monotonic_ns)
        return _format(self._last_us)


def instant() -> tuple[int, int]:
    """Now, in nanoseconds: by the wall clock and by the monotonic clock."""
    return time.time_ns(), time.monotonic_ns()


def now_stamp() -> str:
    """Now as the timestamp of an update."""
    return _format(time.time_ns() // 1_000)


def _format(microseconds: int) -> str:
    at = _EPOCH + timedelta(microseconds=microseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond:06d}Z"
