"""When a job counts as stale, and the messages about it. The statements are in app.store.

Silence is what was watched: a web process watches from the moment it takes updates to its last
beat. Time in which no process watches is never counted as a job's silence, neither
over a restart of the hub nor while the web processes are down and the tasks run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

BEAT_SECONDS = 2  # also how much later than at its threshold a silence may be noticed
# Seven beats in a row that fail. Less would take a database that is busy for a moment for a hub
# that is down, and delay status changes again and again.
BEAT_GAP_SECONDS = 15
# What is further in the future was stamped before the database's clock was set back. What is not
# may be another transaction's: each reads the clock when it comes to it.
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

    `watches` are those of the processes that still beat. A job whose last update came at or before
    the answer was silent for the threshold under the eyes of one of them.
    """
    threshold = timedelta(seconds=threshold_seconds)
    ends = [watch.beat_at for watch in watches if watch.seconds >= threshold_seconds]
    return max(ends) - threshold if ends else None


def stall_text(threshold_seconds: int) -> str:
    """The error_message of a stalled job. Analysts search for it: the wording is a contract."""
    return f"Job stalled due to no telemetry updates for {threshold_seconds}s"


def fail_text(threshold_seconds: int) -> str:
    """The error_message of a job failed for its silence. The wording is a contract."""
    return f"Job failed due to no telemetry updates for {go_duration(threshold_seconds)}"


def go_duration(seconds: int) -> str:
    """Whole seconds as Go's time.Duration prints them: 45s, 1m30s, 1h0m0s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
