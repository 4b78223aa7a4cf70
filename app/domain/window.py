"""A window: a half-open range of time, so that neighbouring windows share no update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """A range of time: `from_at` inclusive, `before_at` exclusive."""

    from_at: datetime
    before_at: datetime

    @property
    def is_empty(self) -> bool:
        return self.from_at >= self.before_at

    def within(self, other: Window) -> Window:
        """The part inside `other`; empty, at one of its ends, if they do not overlap."""
        from_at = min(max(self.from_at, other.from_at), other.before_at)
        return Window(from_at, max(from_at, min(self.before_at, other.before_at)))

    def widened(self, step_seconds: int) -> Window:
        """The smallest window of whole steps, counted from the epoch, around this one."""
        step = timedelta(seconds=step_seconds)
        from_at = EPOCH + (self.from_at - EPOCH) // step * step
        try:
            return Window(from_at, EPOCH - (EPOCH - self.before_at) // step * step)
        except OverflowError:  # the step of the last possible instant
            return Window(from_at, LATEST)

    def parts(self, length: timedelta) -> Iterator[Window]:
        """The window in parts of at most `length`, ascending."""
        from_at = self.from_at
        while from_at < self.before_at:
            yield Window(from_at, min(from_at + length, self.before_at))
            from_at += length
