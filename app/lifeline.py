"""Child processes end when their parent does, however it died.

A web worker that outlived its hub would go on serving on a port that the next hub shares.
"""

from __future__ import annotations

import os
import threading
import time

PARENT_VARIABLE = "HUB_PARENT_PID"  # set by `serve` for the processes it starts
POLL_SECONDS = 0.25


def end_with_parent() -> None:
    """End this process as soon as the process that `serve` named is no longer its parent.

    Does nothing in a process that `serve` did not start. Nothing is lost by ending at once:
    acknowledged means committed.
    """
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None:
        threading.Thread(target=_watch, args=(int(expected),), name="lifeline", daemon=True).start()


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_SECONDS)
    os._exit(1)
