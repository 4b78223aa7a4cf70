"""The tracker of the block, function or loop that runs now."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from telemetry_client.tracker.tracker import ProgressTracker

Entered = Token[Optional["ProgressTracker"]]

_current: ContextVar[ProgressTracker | None] = ContextVar("telemetry_tracker", default=None)


def current_tracker() -> ProgressTracker | None:
    """The tracker of the innermost `with`, `async with` or `tracked` function, in this thread or
    task; None outside. Threads that a job starts do not inherit it.
    """
    return _current.get()


def enter(tracker: ProgressTracker) -> Entered:
    """Make it the current one."""
    return _current.set(tracker)


def leave(token: Entered | None) -> None:
    """Make the one before current again."""
    if token is None:
        return
    try:
        _current.reset(token)
    except (ValueError, RuntimeError):  # left in another context, as an async generator may be
        _current.set(None)
