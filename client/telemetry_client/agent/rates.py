"""Speeds from counters. One that went back was restarted: its speed is unknown, not negative."""

from __future__ import annotations

from collections.abc import Mapping

MEGABYTE = 1024**2


class Rate:
    """The speed of counters that only grow, such as the bytes of each network interface."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, int]] | None = None

    def megabytes_per_second(self, counters: Mapping[str, int], now: float) -> float | None:
        """Since the call before, on the clock `now` (monotonic seconds). None: unknown.

        A counter that is new or gone adds nothing; one that went back makes the speed unknown.
        """
        before, self._before = self._before, (now, dict(counters))
        if before is None or now <= before[0]:
            return None
        grown = [value - before[1][name] for name, value in counters.items() if name in before[1]]
        if not grown or min(grown) < 0:
            return None
        return sum(grown) / MEGABYTE / (now - before[0])

    def forget(self) -> None:
        """The counters could not be read: what comes next has nothing to compare with."""
        self._before = None
