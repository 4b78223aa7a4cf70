"""Child processes end when their parent does, however it ended.

A web worker that outlived its hub would go on serving on a port that the next hub shares.
"""

from __future__ import annotations

import os

from app.background import RepeatingThread
from app.config import PARENT_VARIABLE

POLL_SECONDS = 0.25


def end_with_parent() -> None:
    """End this process as soon as the process that `serve` named is no longer its parent.

    Does nothing in a process that `serve` did not start. Nothing is lost by ending at once:
    acknowledged means committed.
    """
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None:
        RepeatingThread("lifeline", lambda: _check(int(expected)), POLL_SECONDS).start()


def _check(parent_pid: int) -> None:
    if os.getppid() != parent_pid:
        os._exit(1)
