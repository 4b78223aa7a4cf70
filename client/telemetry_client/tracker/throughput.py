"""Speed and time left, from a count that only grows. Pure: no clock of its own."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from telemetry_client.progress import Progress
from telemetry_client.tracker.cadence import INTERVAL_SECONDS

SMOOTHING_SECONDS = 10.0  # older steps weigh less than 1/e
SHORTEST_STEP_SECONDS = 0.001  # a step in less time is added to the next one
SHORTEST_SPEED_SECONDS = 1.0  # over less time a speed is chance: a file that needs no reading
SILENT_INTERVALS = 3
LONGEST_ETA_SECONDS = 10 * 365 * 86_400  # beyond it the speed is too low for a forecast
_REMEMBERED_STEPS = 5


class Throughput:
    """Bytes per second over about the last `smoothing_seconds`, weighted by time.

    A step is a count that has grown since the one before; one that went back was restarted, and is
    not a step. Between two steps the speed stays. If none comes for longer than usual
    (`interval_seconds`, or the usual distance of the steps if that is longer), it decays, and is 0
    after three times as long.
    """

    def __init__(
        self,
        smoothing_seconds: float = SMOOTHING_SECONDS,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._smoothing_seconds = smoothing_seconds
        self._interval_seconds = interval_seconds
        self._first_at = 0.0
        self._last: tuple[float, int] | None = None  # the last step
        self._now = 0.0
        self._bytes = 0.0  # both decay, so that the quotient is right from the first step on
        self._seconds = 0.0
        self._distances: deque[float] = deque(maxlen=_REMEMBERED_STEPS)

    def sample(self, at_seconds: float, count: int) -> None:
        """Add the count at an instant of a monotonic clock, whether it has changed or not."""
        if self._last is None:
            self._last, self._now = (at_seconds, count), at_seconds
            self._first_at = at_seconds
            return
        self._now = max(at_seconds, self._now)
        last_at, last_count = self._last
        passed = self._now - last_at
        if count < last_count:
            self._last = (self._now, count)
        elif count > last_count and passed >= SHORTEST_STEP_SECONDS:
            self._bytes, self._seconds = self._with(count - last_count, passed)
            self._distances.append(passed)
            self._last = (self._now, count)

    @property
    def bps(self) -> int | None:
        """Bytes per second at the last sample; None while that cannot be told."""
        if self._now - self._first_at < SHORTEST_SPEED_SECONDS:
            return None
        if self.is_silent or not self._distances:
            return 0
        count, seconds = self._bytes, self._seconds
        quiet = self._quiet_seconds
        if quiet > self._usual_seconds or seconds < SHORTEST_SPEED_SECONDS:
            count, seconds = self._with(0, quiet)
        return round(count / seconds)

    @property
    def is_silent(self) -> bool:
        """Whether the count has not grown for three times as long as usual."""
        return self._quiet_seconds >= SILENT_INTERVALS * self._usual_seconds

    def _with(self, count: int, passed: float) -> tuple[float, float]:
        kept = math.exp(-passed / self._smoothing_seconds)
        return self._bytes * kept + count, self._seconds * kept + passed

    @property
    def _quiet_seconds(self) -> float:
        return self._now - self._last[0] if self._last is not None else 0.0

    @property
    def _usual_seconds(self) -> float:
        distances = sorted(self._distances)  # their median: a stall is not usual
        usual = distances[len(distances) // 2] if distances else 0.0
        return max(usual, self._interval_seconds)


class Pace:
    """Adds speed and time left to the progress of a job."""

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._throughput = Throughput(interval_seconds=interval_seconds)

    def add_to(self, progress: Progress, at_seconds: float) -> Progress:
        """The progress at an instant of a monotonic clock.

        A speed or a time left that the job reported itself is kept as long as the job moves: a job
        that hangs goes on reporting its last ones, or is silent.
        """
        done, percent = progress.bytes_transferred, progress.percent
        if done is None and percent is None:
            return progress
        self._throughput.sample(at_seconds, round((percent or 0) * 100) if done is None else done)
        if self._throughput.is_silent:
            speed = 0 if progress.speed_bps is not None or done is not None else None
            return replace(progress, speed_bps=speed, eta_seconds=_end_only(progress))
        if done is None:
            return progress
        speed = self._throughput.bps if progress.speed_bps is None else progress.speed_bps
        left = progress.eta_seconds
        if left is None:
            left = eta_seconds(done, progress.total_bytes, speed)
        return replace(progress, speed_bps=speed, eta_seconds=left)


def _end_only(progress: Progress) -> int | None:
    """The time left of a job that stands still: 0 if it is done, else unknown."""
    done, total = progress.bytes_transferred, progress.total_bytes
    return 0 if done is not None and total is not None and done >= total > 0 else None


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
