"""The rollups: the source of each, and which part of it may be refreshed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.window import EPOCH, Window

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

# A bucket is refreshed this long after its end; updates that come later are late data.
SETTLED_AFTER = timedelta(minutes=1)

# Most to refresh at once: it blocks the embedded engine for a second per 180,000 updates.
REFRESH_STEP = timedelta(hours=3)

RAW_SERIES = ("job_telemetry", "disk_telemetry", "node_telemetry")
# Hours are kept for ever.
MINUTE_ROLLUPS = ("job_speed_1m", "disk_speed_1m", "node_telemetry_1m")
DROPPED_SERIES = (*RAW_SERIES, *MINUTE_ROLLUPS)  # each has a row in series_edges


@dataclass(frozen=True, slots=True)
class Rollup:
    """A rollup, the series it is made from, and the column that counts that series' raw rows."""

    name: str
    source: str
    bucket: timedelta
    count_column: str


# In the order in which to refresh them: each after its source.
ROLLUPS = (
    Rollup("job_speed_1m", "job_telemetry", MINUTE, "updates"),
    Rollup("job_speed_1h", "job_speed_1m", HOUR, "updates"),
    Rollup("disk_speed_1m", "disk_telemetry", MINUTE, "updates"),
    Rollup("disk_speed_1h", "disk_speed_1m", HOUR, "updates"),
    Rollup("node_telemetry_1m", "node_telemetry", MINUTE, "snapshots"),
    Rollup("node_telemetry_1h", "node_telemetry_1m", HOUR, "snapshots"),
)


def rollups_of(series: str) -> list[Rollup]:
    """The rollups made from a series, directly or through another, each after its source."""
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
    """The whole buckets of a range, after the edge of the rollup's source; may be empty."""
    start = start if edge is None else max(start, edge)
    if start >= end:
        return Window(start, start)
    return Window(start + (EPOCH - start) % rollup.bucket, end - (end - EPOCH) % rollup.bucket)
