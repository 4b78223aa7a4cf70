"""Where the series keeps an update whose sender's clock is wrong. Instants in µs."""

from __future__ import annotations

SECOND = 1_000_000
FUTURE_TOLERANCE = 300 * SECOND  # five minutes ahead is ordinary clock skew


def is_plausible(timestamp: int, now: int, late_horizon: int) -> bool:
    """Whether a sender's timestamp may stand: not far ahead, not before the late horizon."""
    return late_horizon <= timestamp <= now + FUTURE_TOLERANCE


def place(timestamp: int, now: int, late_horizon: int, offset: int | None) -> tuple[int, int]:
    """The stored time of an implausible timestamp, and the clock offset it was shifted by.

    The job's offset, fixed at its first such update, keeps the shape of a backlog. Where it does
    not bring the timestamp into bounds (the clock was set a second time), the update is stored at
    the time of its arrival.
    """
    if offset is not None and is_plausible(timestamp + offset, now, late_horizon):
        return timestamp + offset, offset
    return now, now - timestamp
