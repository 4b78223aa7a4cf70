"""Where the series keeps a report whose sender's clock is wrong. Instants in µs."""

from __future__ import annotations

from typing import Protocol

SECOND = 1_000_000
FUTURE_TOLERANCE = 300 * SECOND  # five minutes ahead is ordinary clock skew


class Stamped(Protocol):
    """A report with its sender's timestamp, and where the series keeps it."""

    timestamp: int | None
    time: int
    sender_time: int | None


def is_plausible(timestamp: int, now: int, late_horizon: int) -> bool:
    """Whether a sender's timestamp may stand: not far ahead, not before the late horizon."""
    return late_horizon <= timestamp <= now + FUTURE_TOLERANCE


def place(report: Stamped, now: int, late_horizon: int, offset: int | None) -> int | None:
    """Set the `time` of a report that has a timestamp; the offset of its sender's clock.

    An implausible timestamp is shifted. The offset, fixed by the first that is, keeps the shape of
    a backlog. Where it does not bring a timestamp into bounds, because the clock was set a second
    time, the report is stored at the time of its arrival.
    """
    timestamp = report.timestamp
    assert timestamp is not None
    report.time, report.sender_time = timestamp, None
    if is_plausible(timestamp, now, late_horizon):
        return offset
    report.sender_time = timestamp
    if offset is not None and is_plausible(timestamp + offset, now, late_horizon):
        report.time = timestamp + offset
        return offset
    report.time = now
    return now - timestamp if offset is None else offset
