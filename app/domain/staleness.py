"""When a job counts as stale, and the messages about it. The statements are in app.store.

Only time in which a web process takes updates, from its start to its last beat, counts as silence.
A restart of the hub does not, nor time in which only the tasks run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

BEAT_SECONDS = 2  # silence may be noticed this long after its threshold
# Seven failed beats in a row. With fewer, a database that is briefly busy would look like a hub
# that is down, and delay status changes.
BEAT_GAP_SECONDS = 15
# A time further in the future was written before the database's clock was set back. A smaller
# difference may come from another transaction, which read the clock later.
FUTURE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Watch:
    """A stretch in which one web process took updates without a gap, on the database's clock."""

    up_since: datetime
    beat_at: datetime

    @property
    def seconds(self) -> float:
        return (self.beat_at - self.up_since).total_seconds()


def silent_since(watches: Iterable[Watch], threshold_seconds: int) -> datetime | None:
    """The latest sign of life that makes a job stale; None when no status may change.

    `watches` are those of the processes that still beat. One of them must have been taking updates
    for the whole threshold.
    """
    threshold = timedelta(seconds=threshold_seconds)
    ends = [watch.beat_at for watch in watches if watch.seconds >= threshold_seconds]
    return max(ends) - threshold if ends else None


def stall_text(threshold_seconds: int) -> str:
    """The error_message of a stalled job. Analysts search for it: the wording is a contract."""
    return f"Job stalled due to no telemetry updates for {threshold_seconds}s"


def fail_text(threshold_seconds: int) -> str:
    """The error_message of a job that failed because it was silent. The wording is a contract."""
    return f"Job failed due to no telemetry updates for {go_duration(threshold_seconds)}"


def go_duration(seconds: int) -> str:
    """Whole seconds as Go's time.Duration prints them: 45s, 1m30s, 1h0m0s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
