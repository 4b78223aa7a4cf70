"""A clock that tests move by hand."""

from __future__ import annotations


class Clock:
    """Moves by hand; for the monotonic clock and the wall alike."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def __iadd__(self, seconds: float) -> Clock:
        self.now += seconds
        return self
