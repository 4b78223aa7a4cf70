"""At which time a report is stored if its sender's clock is wrong. Instants in µs."""

from __future__ import annotations

from typing import Protocol

SECOND = 1_000_000
FUTURE_TOLERANCE = 300 * SECOND  # five minutes ahead is ordinary clock skew
OLD_AFTER = 600 * SECOND  # older reports are old: they are stored after fresh ones


LATEST = 253_402_214_400 * SECOND  # 9999-12-31


def is_unset(timestamp: int) -> bool:
    """Whether a timestamp is what languages print for a time that was never set, not a clock's.

    Go and .NET begin in the year 1, Windows in 1601, NTP in 1900, Unix in 1970; others use the last
    day of the calendar.
    """
    return timestamp <= 0 or timestamp >= LATEST


class Stamped(Protocol):
    """A report with its sender's timestamp, and the time at which it is stored."""

    timestamp: int | None
    time: int
    sender_time: int | None


def is_plausible(timestamp: int, now: int, late_horizon: int) -> bool:
    """Whether a timestamp is neither far ahead nor before the late horizon."""
    return late_horizon <= timestamp <= now + FUTURE_TOLERANCE


def can_place(timestamp: int, now: int, late_horizon: int, offset: int | None) -> bool:
    """Whether a report is stored at its timestamp, or at a known clock offset from it."""
    return is_plausible(timestamp, now, late_horizon) or (
        offset is not None and is_plausible(timestamp + offset, now, late_horizon)
    )


def place(report: Stamped, now: int, late_horizon: int, offset: int | None) -> int | None:
    """Set the `time` of a report that has a timestamp; return its sender's clock offset.

    An implausible timestamp is shifted. The first one fixes the offset, so that a backlog keeps its
    shape. If the clock was set again and the offset does not help, the time of arrival is used.
    """
    timestamp = report.timestamp
    assert timestamp is not None
    report.time, report.sender_time = timestamp, None
    if late_horizon <= timestamp <= now + FUTURE_TOLERANCE:  # is_plausible, without a call
        return offset
    report.sender_time = timestamp
    if offset is not None and is_plausible(timestamp + offset, now, late_horizon):
        report.time = timestamp + offset
        return offset
    report.time = now
    return now - timestamp if offset is None else offset
