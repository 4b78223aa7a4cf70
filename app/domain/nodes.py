"""Chooses source and step of a node's chart: the finest that is kept and cheap to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.chart import SECOND, window_step
from app.domain.window import Window

# What is cheap: rows that the database adds up in some 20 ms. A week of one snapshot a minute.
MOST_SNAPSHOTS = 10_000
MOST_MINUTES = 10_000


class Source(StrEnum):
    """The source of a chart, as named in the response."""

    SNAPSHOTS = "snapshots"
    MINUTES = "1m"
    HOURS = "1h"


@dataclass(frozen=True, slots=True)
class ChartedNode:
    """What a chart needs to know of its node.

    Snapshots are kept from `snapshots_from` on, minutes from `minutes_from` on, and hours for ever.
    """

    node_id: str
    is_online: bool
    oldest_snapshot_at: datetime
    newest_snapshot_at: datetime
    snapshots_from: datetime
    minutes_from: datetime

    @property
    def span(self) -> Window:
        """All its snapshots ever: from the earliest to the whole second after the newest."""
        before_at = self.newest_snapshot_at.replace(microsecond=0) + SECOND
        return Window(self.oldest_snapshot_at, before_at)

    def is_unfinished(self, from_at: datetime, step_seconds: int) -> bool:
        """Whether more snapshots may come in the step that begins at `from_at`."""
        end = from_at + timedelta(seconds=step_seconds)
        return self.is_online and self.newest_snapshot_at < end


def choose_source(
    node: ChartedNode, window: Window, snapshots: int, points: int
) -> tuple[Source, int]:
    """The source of a chart of at most `points` points, and its step in seconds.

    A step of 0: each snapshot is a point. `window` is the part of the chart that has data and
    `snapshots` how many of them are kept, counted no further than MOST_SNAPSHOTS + 1.
    """
    is_empty = window.from_at == window.before_at
    if snapshots <= points and (is_empty or window.from_at >= node.snapshots_from):
        return Source.SNAPSHOTS, 0
    step = window_step(window, points)
    # Whole steps may begin before the oldest kept snapshot even if the window does not.
    if snapshots <= MOST_SNAPSHOTS and window.widened(step).from_at >= node.snapshots_from:
        return Source.SNAPSHOTS, step
    minutes = (window.before_at - window.from_at) / timedelta(minutes=1)
    step = max(step, 60)
    if minutes <= MOST_MINUTES and window.widened(step).from_at >= node.minutes_from:
        return Source.MINUTES, step
    return Source.HOURS, max(step, 3600)
