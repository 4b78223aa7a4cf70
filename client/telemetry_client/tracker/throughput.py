"""A smoothed speed and the time left, from a count that only grows. Pure: no clock of its own."""

from __future__ import annotations

import math

SMOOTHING_SECONDS = 10.0  # older samples weigh less than 1/e
SHORTEST_STEP_SECONDS = 0.001  # shorter steps give no meaningful speed
LONGEST_ETA_SECONDS = 10 * 365 * 86_400  # beyond it the speed is too low for a forecast


class Throughput:
    """Bytes per second over about the last SMOOTHING_SECONDS, weighted by time.

    A count that goes back was restarted: that step is ignored.
    """

    def __init__(self, smoothing_seconds: float = SMOOTHING_SECONDS) -> None:
        self._smoothing_seconds = smoothing_seconds
        self._last: tuple[float, int] | None = None
        self._bytes = 0.0  # both decay, so that the quotient is right from the first step on
        self._seconds = 0.0

    def sample(self, at_seconds: float, count: int) -> None:
        """Add the count at an instant of a monotonic clock."""
        if self._last is None:
            self._last = (at_seconds, count)
            return
        last_at, last_count = self._last
        passed = at_seconds - last_at
        if count < last_count:
            self._last = (max(at_seconds, last_at), count)
        elif passed >= SHORTEST_STEP_SECONDS:
            kept = math.exp(-passed / self._smoothing_seconds)
            self._bytes = self._bytes * kept + (count - last_count)
            self._seconds = self._seconds * kept + passed
            self._last = (at_seconds, count)

    @property
    def bps(self) -> int | None:
        """Bytes per second; None before the first step."""
        return round(self._bytes / self._seconds) if self._seconds > 0 else None


def eta_seconds(done: int | None, total: int | None, speed_bps: int | None) -> int | None:
    """Seconds until `done` is `total`; None if unknown."""
    if done is None or total is None or total <= 0:
        return None
    if done >= total:
        return 0
    if not speed_bps or speed_bps < 0:
        return None
    left = math.ceil((total - done) / speed_bps)
    return left if left <= LONGEST_ETA_SECONDS else None
