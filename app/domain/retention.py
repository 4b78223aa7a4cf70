"""Which clock decides what is dropped: not one that jumped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# A clock further ahead of the last run, or of the newest row, may be wrong.
TRUSTED_AHEAD = timedelta(days=1)
# Runs, one an hour: a clock that stays ahead for a day is right.
RUNS_UNTIL_TRUSTED = 24


@dataclass(frozen=True, slots=True)
class RetentionClock:
    """The clock at the last run that trusted it, and how many have found it ahead since."""

    trusted_at: datetime
    runs_ahead: int = 0

    @property
    def is_trusted(self) -> bool:
        """Whether the last run may drop what has expired."""
        return self.runs_ahead == 0

    def next(self, now: datetime) -> RetentionClock:
        """The clock after a run at `now`."""
        is_ahead = now > self.trusted_at + TRUSTED_AHEAD
        if is_ahead and self.runs_ahead < RUNS_UNTIL_TRUSTED:
            return RetentionClock(self.trusted_at, self.runs_ahead + 1)
        return RetentionClock(now)


def retention_now(now: datetime, newest: datetime | None) -> datetime:
    """The instant from which ages count: at most a day after the newest row of any series."""
    return now if newest is None else min(now, newest + TRUSTED_AHEAD)
