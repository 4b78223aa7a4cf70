"""The rollups: what each is made from, and which part of it a refresh may touch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.window import EPOCH, Window

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

# A bucket that ended this long ago is made once; what comes later still is late data.
SETTLED_AFTER = timedelta(minutes=1)

# Refreshed at once, at most: the embedded engine runs nothing else then, and needs a second for
# 180,000 updates.
REFRESH_STEP = timedelta(hours=3)

RAW_SERIES = ("job_telemetry", "disk_telemetry", "node_telemetry")
# Hours are kept for ever. disk_speed_1m is made into nothing coarser.
MINUTE_ROLLUPS = ("job_speed_1m", "disk_speed_1m", "node_telemetry_1m")
DROPPED_SERIES = (*RAW_SERIES, *MINUTE_ROLLUPS)  # each has its edge


@dataclass(frozen=True, slots=True)
class Rollup:
    """A rollup, the series it is made from, and the column that counts that series' raw rows."""

    name: str
    source: str
    bucket: timedelta
    count_column: str


# Each after its source, which is the order to refresh them in.
ROLLUPS = (
    Rollup("job_speed_1m", "job_telemetry", MINUTE, "updates"),
    Rollup("job_speed_1h", "job_speed_1m", HOUR, "updates"),
    Rollup("disk_speed_1m", "disk_telemetry", MINUTE, "updates"),
    Rollup("node_telemetry_1m", "node_telemetry", MINUTE, "snapshots"),
    Rollup("node_telemetry_1h", "node_telemetry_1m", HOUR, "snapshots"),
)


def rollups_of(series: str) -> list[Rollup]:
    """Every rollup made from a series, and from such a rollup, each after its source."""
    found: list[Rollup] = []
    for rollup in ROLLUPS:
        if rollup.source in (series, *(other.name for other in found)):
            found.append(rollup)
    return found


def late_horizon(now: datetime, late_days: int) -> datetime:
    """The oldest instant at which ingest stores an update."""
    return now - timedelta(days=late_days)


def whole_buckets(
    rollup: Rollup, start: datetime, end: datetime, edge: datetime | None = None
) -> Window:
    """The buckets of a rollup that lie wholly in a range, and after the edge of its source.

    The window may be empty.
    """
    start = start if edge is None else max(start, edge)
    if start >= end:
        return Window(start, start)
    return Window(start + (EPOCH - start) % rollup.bucket, end - (end - EPOCH) % rollup.bucket)
