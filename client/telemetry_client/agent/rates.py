"""Speeds from counters. A counter that went back was restarted: its speed is unknown."""

from __future__ import annotations

from collections.abc import Mapping

MEGABYTE = 1024**2


class Rate:
    """The speed of increasing counters, such as the bytes of each network interface."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, int]] | None = None

    def megabytes_per_second(self, counters: Mapping[str, int], now: float) -> float | None:
        """Since the previous call; `now` in monotonic seconds. None if unknown.

        New and removed counters add nothing; one that went back makes the speed unknown.
        """
        before, self._before = self._before, (now, dict(counters))
        if before is None or now <= before[0]:
            return None
        grown = [value - before[1][name] for name, value in counters.items() if name in before[1]]
        if not grown or min(grown) < 0:
            return None
        return sum(grown) / MEGABYTE / (now - before[0])

    def forget(self) -> None:
        """Start again: the counters could not be read."""
        self._before = None
