"""Stretches of a job's run: its phases, and the gaps in which it sent no update."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

# A gap is longer than three times the median distance of the run's updates, at least a minute: of a
# sender that sends every 5 s a dozen updates were missed.
LEAST_GAP_SECONDS = 60
FEWEST_DISTANCES = 4  # fewer have no rhythm
# A job could have as many as updates: only the longest are kept.
MOST_STRETCHES = 1000

GapReason = Literal["silence", "hub_away", "sender_lost"]


@dataclass(frozen=True, slots=True)
class Gap:
    """More than the `gap_seconds` of its run without an update."""

    from_at: datetime
    to_at: datetime
    reason: GapReason


@dataclass(frozen=True, slots=True)
class Phase:
    """A run of updates in one phase, up to the next phase. `bytes` moved in it; None: unknown."""

    phase: str
    from_at: datetime
    to_at: datetime
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Stretches:
    """The gaps and phases of a job, each ascending, and how many shorter ones were left out.

    `gap_seconds`: what a gap is longer than.
    """

    gap_seconds: float
    gaps: list[Gap]
    phases: list[Phase]
    gaps_omitted: int
    phases_omitted: int
