"""Requests to stop. Signal handlers may only use a SimpleQueue, which is reentrant."""

from __future__ import annotations

import os
import queue
import signal
import threading
from types import FrameType

STOP = "stop"

Events = queue.SimpleQueue[str]


def on_signals(events: Events, *signals: signal.Signals) -> None:
    """Put STOP when one of the signals arrives. For the main thread only."""

    def handle(number: int, frame: FrameType | None) -> None:
        events.put(STOP)

    for number in signals:
        signal.signal(number, handle)


def on_end_of_input(events: Events) -> None:
    """Put STOP when standard input ends: the parent closed it, or has ended."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        events.put(STOP)

    threading.Thread(target=wait, name="telemetry-lifeline", daemon=True).start()


def next_event(events: Events, timeout: float | None) -> str | None:
    """The next event; None if none came in time."""
    try:
        return events.get(timeout=timeout if timeout is None else max(0.0, timeout))
    except queue.Empty:
        return None
