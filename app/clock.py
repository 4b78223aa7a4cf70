"""This process's clock, never used to judge liveness (the database's is), and conversions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.domain.window import EPOCH

_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)  # for what is written as UTC
_MICROSECOND = timedelta(microseconds=1)
_MICROS_PER_SECOND = 1_000_000


def utc_now() -> datetime:
    """The current instant, timezone-aware, UTC."""
    return datetime.now(UTC)


class ClockWatch:
    """Notices that the clock was set: it differs from the time that has passed."""

    TOLERANCE_SECONDS = 5.0  # of a clock that is slewed, from one look to the next

    def __init__(
        self,
        wall: Callable[[], datetime] = utc_now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._last = wall(), elapsed()

    def was_set(self) -> bool:
        """Whether it was set since the last call. A machine that slept counts too."""
        wall, elapsed = self._last
        self._last = self._wall(), self._elapsed()
        gone = (self._last[0] - wall).total_seconds()
        return abs(gone - (self._last[1] - elapsed)) > self.TOLERANCE_SECONDS


def to_micros(instant: datetime) -> int:
    """Whole microseconds since 1970-01-01T00:00:00Z, exactly (no float on the way)."""
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The inverse of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)


def micros_to_seconds(micros: int | None) -> float | None:
    """A clock offset as it is stored; None stays None."""
    return None if micros is None else micros / _MICROS_PER_SECOND


def seconds_to_micros(seconds: float | None) -> int | None:
    """A stored clock offset, rounded to whole microseconds; None stays None."""
    return None if seconds is None else round(seconds * _MICROS_PER_SECOND)


def isoformat(instant: datetime) -> str:
    """RFC 3339 in UTC with a `Z`, microseconds only where there are any."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def isoformat_micros(micros: int) -> str:
    """`isoformat` of `from_micros`, at half the cost: each push is answered with two instants."""
    return (_NAIVE_EPOCH + timedelta(microseconds=micros)).isoformat() + "Z"
